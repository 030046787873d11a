"""Lookup that renders a role's template, or the operator's override of it."""

from __future__ import annotations

DOCUMENTATION = """
name: template
short_description: Render a role's template, or the operator's override
description:
  - Renders the first of C(templates/SITE/NAME), C(templates/NAME) and C(roles/ROLE/templates/NAME); returns the text.
  - In an override, C({% extends 'NAME' %}) extends the role's template, so that it only fills blocks.
  - Blocks are trimmed and stripped (C({% … %}) on its own line prints nothing); the last newline is kept.
options:
  _terms:
    description: Template, as C(ROLE/NAME), for example C(nginx/site.conf.j2).
    required: true
  site:
    description:
      - The site's merged entry. Templates get it as C(site), with its key as C(site.name), and without the secrets
        C(env) and C(tls.key).
      - Without it C(templates/SITE/) is not searched; the configuration of a daemon is rendered that way.
    type: dict
  operator_templates:
    description: The operator's folder of overrides, relative to the project's root unless it is absolute.
    default: templates
    type: str
    vars:
      - name: operator_templates
notes:
  - Every other keyword argument becomes a template variable.
  - Templates also get C(template_origin), the template's path relative to the project's root, and all host variables.
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Install the server block of a site
  ansible.builtin.copy:
    content: "{{ lookup('wsgi.sites.template', 'nginx/site.conf.j2', site=site_entry) }}"
    dest: /etc/nginx/sites-available/shop.conf
    mode: "0644"
"""

RETURN = """
_raw:
  description: The rendered text.
  type: list
  elements: str
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.lookup import LookupBase
from ansible.template import trust_as_template
from jinja2 import TemplateError, TemplateSyntaxError

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config
from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT, ROLES

OPTIONS = {"site", "operator_templates"}


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.template', 'ROLE/NAME', site=site_entry, …)``."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Answer the lookup."""
        variables = variables or {}
        site_config.guard(variables)
        self.set_options(var_options=variables, direct={k: v for k, v in kwargs.items() if k in OPTIONS})
        site = dict(kwargs["site"].items()) if kwargs.get("site") else {}
        if site:
            site.setdefault("name", self._site_name(variables))
        # Not passed to templates, whose output is shown by --diff and may be readable by others.
        self.secrets = site.pop("env", None) or {}
        if isinstance(site.get("tls"), Mapping):
            site["tls"] = {**site["tls"], "key": ""}
        extra = {key: value for key, value in kwargs.items() if key not in OPTIONS}
        if site:
            extra["site"] = site
        return [self._render(term, site.get("name"), variables, extra) for term in terms]

    def _site_name(self, variables: Mapping[str, Any]) -> str:
        if "site_name" not in variables:
            raise AnsibleError("The site's entry has no `name`, and the variable `site_name` is not set.")
        return str(self._templar.template(variables["site_name"]))

    def _render(self, term: str, site: str | None, variables: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
        role, _, name = str(term).partition("/")
        if not name:
            raise AnsibleError(f"`{term}` does not name a template; use ROLE/NAME, such as nginx/site.conf.j2.")
        overrides = PROJECT / str(self.get_option("operator_templates"))
        own = ROLES / role / "templates"
        candidates = [*([overrides / site / name] if site else []), overrides / name, own / name]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise AnsibleError(f"There is no template {term}; looked for {', '.join(map(origin, candidates))}.")

        # The role's folder comes first, since `extends` means the role's copy, even in a file of the same name.
        folders = [own, *([overrides / site] if site else []), overrides, PROJECT]
        text = trust_as_template(self._loader.get_text_file_contents(str(path)))
        templar = self._templar.copy_with_new_env(
            available_variables={**variables, **extra, "template_origin": origin(path)},
            searchpath=[str(folder) for folder in folders],
        )
        try:
            rendered = templar.template(
                text,
                preserve_trailing_newlines=False,
                escape_backslashes=False,
                overrides={"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True},
            )
        except (AnsibleError, TemplateError) as error:
            # `from None`: Ansible prints the whole chain, and a cause may quote a value.
            raise AnsibleError(explain(error, path, own / name, self.secrets)) from None
        return str(rendered)


def origin(path: Path) -> str:
    """The path for messages: relative to the project or the collection if it is inside."""
    root = next((root for root in (PROJECT, ROLES.parent) if path.is_relative_to(root)), None)
    return str(path.relative_to(root) if root else path)


def explain(error: BaseException, path: Path, own: Path, secrets: Mapping[str, Any]) -> str:
    """The error with file, line, reason and remedy, without the site's environment values."""
    chain = list(causes(error))
    place, line = path, None
    for cause in chain:
        place, line = where(cause, path) or (place, line)
    last = chain[-1]
    reason = str(getattr(last, "message", None) or last).strip().rstrip(".")
    if line is None:
        place, line = find_name([str(getattr(cause, "message", cause)) for cause in chain], [path, own]) or (
            place,
            None,
        )
    if not isinstance(last, TemplateSyntaxError | AnsibleUndefinedVariable):
        reason = f"{type(last).__name__}: {reason}"
    for value in environment(secrets):
        reason = reason.replace(value, "(hidden)")
    if path == own:
        remedy = "This is the collection's own template: check your settings that the line uses."
    else:
        remedy = f"Correct that line, or move {origin(path)} away to go back to {origin(own)}."
    return f"{origin(place)}{f', line {line}' if line else ''}: {reason}. {remedy}"


def environment(env: Mapping[str, Any]) -> list[str]:
    """The site's environment values, which messages must not quote; very short ones are not masked."""
    values = []
    for key in env:
        try:
            values.append(str(env[key]))
        except (AnsibleError, TemplateError):
            continue  # an undefined value has no secret
    return [value for value in values if len(value) > 3]


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its chain of causes."""
    while error is not None:
        yield error
        error = error.__cause__


def where(error: BaseException, path: Path) -> tuple[Path, int] | None:
    """File and line of a broken template, from Jinja's syntax error or from the traceback."""
    if isinstance(error, TemplateSyntaxError):
        return (Path(error.filename) if error.filename else path), error.lineno
    found, step = None, error.__traceback__
    while step is not None:
        if template := step.tb_frame.f_globals.get("__jinja_template__"):
            file = path if template.filename in (None, "<template>") else Path(template.filename)
            found = file, template.get_corresponding_lineno(step.tb_lineno)
        step = step.tb_next
    return found


def find_name(messages: list[str], files: list[Path]) -> tuple[Path, int] | None:
    """Find the line by the name in the error, since Ansible's deferred errors of variables and filters have no line."""
    names = [name for message in messages for name in re.findall(r"'(?:\w+\.)*([A-Za-z_]\w*)'", message)]
    for name in reversed(names):
        for file in dict.fromkeys(file for file in files if file.is_file()):
            for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(rf"\b{name}\b", text):
                    return file, number
    return None
