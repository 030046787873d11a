"""No value of a site key can inject syntax: preflight refuses it, or every file keeps its structure."""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from nginx_rig import PROJECT, evaluate, role_variables, trusted

from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import (
    EnvironmentFileError,
    format_environment,
    parse_environment,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.config import reading

# Each alone, before, after and within a valid value.
HOSTILE = [
    "a;b", "a\nb", "\n", 'a"b', "a'b", "$x", "${x}", "{", "}", "\\", "%(x)s", "%(ENV_X)s", "$(x)", "{{ 1 }}",
    "{% raw %}",
    "a\0b", "\t", "#", "; return 200", "\r", "\x0b", "\x1b", "\x85", "\u2028", "a b", "*/", "`id`", "|", "\x7f",
]  # fmt: skip
# Keys whose value is for the controller, such as a file name: no template prints them.
NOT_PRINTED = {
    "source.path", "source.git", "source.version", "source.key", "source.archive", "source.sha256", "source.subfolder",
    "tls.certificate", "tls.chain", "tls.key", "tls.client_ca", "upstream.ca", "processes.*.hosts.*", "cron.*.hosts.*",
    "env.*",
}  # fmt: skip
# Keys that modules get as data: no template prints them either, but one value is tried.
FOR_MODULES = {
    "requirements", "health.path", "health.body", "hooks.before_start.*", "hooks.after_live.*", "hooks.on_failure.*",
    "hooks.schema", "processes.*.command", "cron.*.command", "basic_auth.*", "tls.acme.directory", "tls.acme.email",
    "resources.memory_max", "resources.file_size_max",
}  # fmt: skip
# A valid value of each key, as it appears in the files; a name if the key has names.
RIGHT = {
    "server_names.*": "shop.test", "canonical_name": "shop.test", "path": "/blog", "requirements": "requirements.txt",
    "wsgi": "shop:make('x')", "user": "shop", "root": "/srv/shop", "env.@": "NAME", "env.*": "text",
    "bind.*": "127.0.0.1:5000", "trusted_proxies.*": "10.0.0.1", "worker_class": "sync",
    "gunicorn.certfile": "/etc/ssl/x.pem", "gunicorn.keyfile": "/etc/ssl/x.key", "gunicorn.ca_certs": "/etc/ssl/c.pem",
    "uwsgi.stats": "127.0.0.1:9191", "health.path": "/healthz", "health.host": "shop.test", "health.body": "fine",
    "upstream.servers.*": "192.0.2.21:8443", "upstream.name": "app.test", "hooks.before_start.*": "flask upgrade",
    "hooks.after_live.*": "flask warm", "hooks.on_failure.*": "flask tell", "hooks.schema": "flask check",
    "processes.@": "queue", "processes.*.command": "python worker.py", "cron.@": "nightly",
    "cron.*.command": "flask purge", "cron.*.schedule": "15 3 * * *", "aliases.@": "/static/",
    "aliases.*": "app/static",
    "hashed_names": "assets/.+", "client_max_body_size": "16m", "micro_cache.size": "100m", "redirects.@": "/old",
    "redirects.*": "/new", "error_pages": "app/errors", "maintenance.allow.*": "192.0.2.1", "locations.@": "/login",
    "deny.*": "192.0.2.2", "allow.*": "192.0.2.3", "basic_auth.@": "anna", "basic_auth.*": "$6$salt$" + "a" * 86,
    "limits.requests": "20r/s", "ban.ignore.*": "192.0.2.4", "trusted_balancers.*": "10.0.0.5", "headers.@": "X-Robots",
    "headers.*": "noindex", "mask_paths.*": "/reset/", "tls.acme.directory": "https://ca.test/dir",
    "tls.acme.email": "ops@shop.test", "resources.memory_max": "90%", "resources.file_size_max": "1T",
}  # fmt: skip
# Further keys of the site, so that each template prints as much as possible.
BASE: dict[str, Any] = {
    "source": {"path": "app"}, "health": {}, "micro_cache": {"seconds": 1}, "limits": {"connections": 3},
    "ban": {"failures": 5}, "workers_min": 0, "proxy_fix": True,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "gunicorn": {"tls": {"mode": "acme", "hsts": 60}},
    "uwsgi": {"server": "uwsgi"},
}
# Keys that a kind of site does not have; a proxy-only site prints no hostile text in any file.
WITHOUT = {
    "gunicorn": {"uwsgi", "upstream", "path"},
    "uwsgi": {"upstream", "gunicorn", "bind", "micro_cache", "trusted_balancers"},
}


def spec() -> dict[str, Any]:
    text = (PROJECT / "roles/site/meta/argument_specs.yml").read_text()
    return reading.site_spec(yaml.safe_load(text)["argument_specs"])


def texts(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Each place in the site config that takes a free text: values, list elements, mapping keys."""
    for key, option in options.items():
        kind, here = option.get("type", "str"), prefix + key
        if "options" in option:
            yield from texts(option["options"], f"{here}.")
        elif kind == "dict":
            yield f"{here}.@"
            if "each" in option:
                yield from texts(option["each"], f"{here}.*.")
            elif key != "locations":
                yield f"{here}.*"
        elif kind == "list":
            yield f"{here}.*"
        elif kind == "str" and "choices" not in option:
            yield here


def part(dotted: str, value: str) -> Any:
    """A site's settings with this value in this place, and its required companions only."""
    key, _, rest = dotted.partition(".")
    if not rest:
        return {key: value}
    if rest == "@":
        beside = {"processes": {"command": "x"}, "cron": {"command": "x", "schedule": "@daily"}, "locations": {}}
        return {key: {value: beside.get(key, RIGHT.get(f"{key}.*"))}}
    if rest == "*":
        return {key: {RIGHT[f"{key}.@"]: value} if f"{key}.@" in RIGHT else [value]}
    if rest.startswith("*."):
        return {key: {RIGHT[f"{key}.@"]: part(rest[2:], value)}}
    return {key: part(rest, value)}


class Rules(reading.Reading):
    """Preflight's errors by the rules of single keys."""

    def _read(self) -> None:
        self.errors = {}

    def refuses(self, settings: Mapping[str, Any]) -> bool:
        self.errors = {}
        self._check_keys(settings, self.spec, "shop", "")
        return bool(self.errors)


@pytest.fixture(scope="module")
def rules() -> Rules:
    return Rules({}, None, spec(), {})  # type: ignore[arg-type]


def variants(right: str, text: str) -> list[str]:
    middle = len(right) // 2
    return [text, right + text, text + right, right[:middle] + text + right[middle:], right[:-1] + text + right[-1:]]


def passing(rules: Rules, text: str) -> dict[str, list[str]]:
    """Of each key, the values with this text that no rule refuses."""
    found = {}
    for dotted in texts(rules.spec):
        if dotted not in NOT_PRINTED:
            values = [value for value in variants(RIGHT[dotted], text) if not rules.refuses(part(dotted, value))]
            found |= {dotted: values} if values else {}
    return found


# --- The structure of files ----------------------------------------------------------------------------------------


def words_of(text: str) -> Iterator[str]:
    """The tokens of an nginx configuration."""
    at = 0
    pattern = re.compile(r"""[ \t\r\n]+|(?P<comment>#[^\n]*)|(?P<mark>[;{}])""")
    quoted = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL)
    plain = re.compile(r"(?:\\.|\$\{[^}]*\}|[^ \t\r\n;{}\\])+", re.DOTALL)
    while at < len(text):
        found = pattern.match(text, at)
        if found is None:
            found = quoted.match(text, at) or plain.match(text, at)
            assert found, f"no word at {text[at : at + 60]!r}"
            yield "word " + found[0]
        elif found["mark"]:
            yield found["mark"]
        at = found.end()


def of_nginx(text: str) -> list[Any]:
    """Directives by name, number of arguments and enclosing blocks."""
    found: list[Any] = []
    blocks: list[str] = []
    words: list[str] = []
    for word in words_of(text):
        if word.startswith("word "):
            words.append(word[5:])
            continue
        inside_map = bool(blocks) and blocks[-1] in ("map", "geo", "types")
        head = "entry" if inside_map and words and words[0] not in ("default", "volatile") else " ".join(words[:1])
        found.append((*blocks, head, len(words), word))
        if word == "{":
            blocks.append(head)
        elif word == "}":
            blocks.pop()
        words = []
    assert not blocks and not words
    return found


class Blank(ast.NodeTransformer):
    """Takes the values out of Python."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(type(node.value).__name__)


def of_python(text: str) -> str:
    return ast.dump(Blank().visit(ast.parse(text)))


def of_ini(text: str) -> list[Any]:
    """Sections, keys, and interpolations in values."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), inline_comment_prefixes=(" ;",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    found: list[Any] = [len(text.split("\n"))]
    for section in parser.sections():
        stands_for = [
            (key, re.findall(r"%\(\w*\)|%.|\$\(\w*\)|\n", str(value))) for key, value in parser.items(section)
        ]
        found.append((section, stands_for))
    return found


def of_lines(text: str) -> list[int]:
    """The number of words in each line."""
    return [len(line.split()) for line in re.split(r"[\n\r\x85\u2028\u2029]", text)]


def shape(path: str, text: str) -> Any:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text), f"{path} has control characters"
    if "/nginx/" in path:
        return of_nginx(text)
    if path.endswith(".py"):
        return of_python(text)
    if path.endswith(".ini") or path.startswith("program-") or "fail2ban" in path:
        return of_ini(text)
    return of_lines(text)


def files(kind: str, values: Mapping[str, str]) -> dict[str, str]:
    """The rendered files of a host for a site with these values."""
    variables = role_variables({"shop": {}}, site_name="shop", inventory_hostname="one")
    for role in ("release", "ban"):
        variables |= trusted(yaml.safe_load((PROJECT / f"roles/{role}/vars/main.yml").read_text()))
    # As plain text of the site config: templates of the operator are rendered before.
    variables["sites"] = {"shop": site_with(kind, values)}
    found = dict(evaluate("release_files", variables))
    for name in ("__nginx_site_files", "__ban_files", "__site_files") if kind == "gunicorn" else ():
        found |= evaluate(name, variables)
    return found


def site_with(kind: str, values: Mapping[str, str]) -> dict[str, Any]:
    site = {**BASE, **KINDS[kind]}
    for dotted, value in values.items():
        if dotted.partition(".")[0] not in WITHOUT[kind] and not dotted.endswith(".@"):
            site = reading.merge(site, part(dotted, value))
    for dotted, value in values.items():
        key = dotted.partition(".")[0]
        if dotted.endswith(".@") and key not in WITHOUT[kind] and value != RIGHT[dotted]:
            entries = site.get(key, {})
            site[key] = {value if name == RIGHT[dotted] else name: each for name, each in entries.items()}
    return site


# --- Injection -----------------------------------------------------------------------------------------------------


def test_every_text_key_of_a_site_is_covered(rules: Rules) -> None:
    for dotted in texts(rules.spec):
        assert dotted in RIGHT or dotted in NOT_PRINTED, f"{dotted}: give a value of it here"
        if dotted in RIGHT:
            assert not rules.refuses(part(dotted, RIGHT[dotted])), f"{dotted}: {list(rules.errors)}"
    assert rules.refuses({"headers": {"X-A": "\0"}}) and rules.refuses({"env": {"A": "\0"}})


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_that_passes_preflight_changes_the_structure_of_a_file(rules: Rules, kind: str) -> None:
    right = {dotted: RIGHT[dotted] for dotted in texts(rules.spec) if dotted not in NOT_PRINTED}
    wanted = {path: shape(path, text) for path, text in files(kind, right).items()}
    for text in HOSTILE:
        hostile = passing(rules, text)
        assert not any(dotted.startswith("upstream.") for dotted in hostile)
        for number in (0, -1) if kind == "gunicorn" and hostile.keys() - FOR_MODULES else (0,):
            values = {dotted: passed[number] for dotted, passed in hostile.items()}
            made = files(kind, right | values)
            assert set(made) == set(wanted)
            for path, content in made.items():
                assert shape(path, content) == wanted[path], f"{path}: one of {values}"


def test_values_of_the_environment_are_one_line_each_and_read_back_unchanged() -> None:
    values = {f"A{number}": text for number, text in enumerate(HOSTILE) if "\0" not in text}
    written = format_environment(values)
    assert parse_environment(written) == values
    assert len(written.splitlines()) == len(values)
    with pytest.raises(EnvironmentFileError, match="line 1"):
        parse_environment(format_environment({"A": "no process can have a \0"}))
