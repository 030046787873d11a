"""Reads the site config of one host: evaluates its templates, and checks every key by its spec."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from jinja2 import TemplateError

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.derived import DERIVED, with_derived
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.basic import characters, pattern
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.names import identifier
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.paths import PATH
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.table import RULES

# Keys that contain named entries, and the required keys of each entry.
NEEDED = {"processes": ("command",), "cron": ("command", "schedule")}

# Keys of a path in `locations`: keys of the site for this path only, and some of its own.
LOCATION_KEYS = ("client_max_body_size", "proxy_timeout", "allow", "deny", "basic_auth", "limits", "micro_cache")
LOCATION_ONLY = {"stream": {"type": "bool"}, "client_verify": {"type": "str", "choices": ["required", "optional"]}}

# Strict, since templates get these values: `"no"` is true in Jinja, and a string joins by letters.
TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (
        lambda v: isinstance(v, str | int | float) and not isinstance(v, bool),
        "must be a text; put it in quotes",
    ),
    "int": (
        lambda v: isinstance(v, int) and not isinstance(v, bool),
        "must be a whole number; write it without quotes",
    ),
    "bool": (lambda v: isinstance(v, bool), "must be true or false, without quotes"),
    "list": (lambda v: isinstance(v, list | tuple), "must be a list; put it in [ ], or each on its line after a -"),
    "dict": (lambda v: isinstance(v, Mapping), "must hold `name: value` pairs; indent them below the key"),
    "raw": (lambda v: True, ""),
}

BROKEN: Any = object()  # stands for a value that could not be evaluated, so that it causes no further errors


class Reading:
    """The readable part of one host's site config, and its errors."""

    def __init__(
        self, variables: Mapping[str, Any], loader: DataLoader, spec: Mapping[str, Any], keys: Mapping[str, Any]
    ) -> None:
        self.loader, self.spec, self.keys = loader, spec, keys
        self.variables = variables
        self.errors: dict[str, None] = {}
        self.sites: dict[str, dict[str, Any]] = {}
        self.names: list[str] = []
        self._read()

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """The merged entries by site, each with its name and derived values, without values that could not be read."""
        return {name: with_derived(name, readable(site)) for name, site in self.sites.items()}

    def report(self, place: str, text: str) -> None:
        """Add one error."""
        self.errors[f"{place}: {text}"] = None

    def _read(self) -> None:
        sites = self._container("sites")
        if sites is None:
            return
        for name, entry in sites.items():
            self.names.append(str(name))
            problem = identifier(str(name)) if isinstance(name, str) else "must be a text; put it in quotes"
            if problem:
                self.report(str(name), f"as the name of a site, {problem}" if "use" in problem else problem)
            shared = self._part("site_defaults", name, self.variables.get("site_defaults"), optional_part=True)
            own = self._part(str(name), name, entry)
            if isinstance(shared, dict) and isinstance(own, dict):
                base = self._resolve(self.keys, str(name), self._templar(name))
                merged = merge(merge(base, shared), own)
                self.sites[str(name)] = merged
                self._check_whole(str(name), merged)
        if not sites:
            self._part("site_defaults", "example", self.variables.get("site_defaults"), optional_part=True)

    def _templar(self, name: object) -> Templar:
        return Templar(loader=self.loader, variables={**self.variables, "site_name": name})

    def _container(self, variable: str) -> Mapping[str, Any] | None:
        """The variable itself, which may also be a template."""
        value = self.variables.get(variable)
        if isinstance(value, str):
            value = self._value(value, variable, self._templar(""))
        if value is None or value is BROKEN:
            return None
        if not isinstance(value, Mapping):
            self.report(variable, "must hold one entry for each site; write `SITE:` below it, and indent its settings")
            return None
        return value

    def _part(self, place: str, name: object, value: object, *, optional_part: bool = False) -> dict[str, Any] | None:
        """The settings of one site, or of `site_defaults`, evaluated and with every key checked."""
        if value is None and optional_part:
            return {}
        if value is None:
            self.report(place, "has no settings; indent them below its name, or write `state: absent`")
            return None
        value = self._resolve(value, place, self._templar(name))
        if value is BROKEN:
            return None
        if not isinstance(value, dict):
            self.report(place, TYPES["dict"][1])
            return None
        self._check_keys(value, self.spec, place, "")
        return value

    def _resolve(self, value: object, place: str, templar: Templar) -> object:
        """Evaluate every template in a value. One that fails is reported and becomes BROKEN."""
        if isinstance(value, Mapping):
            return {key: self._resolve(item, f"{place}.{key}", templar) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._resolve(item, f"{place}[{number}]", templar) for number, item in enumerate(value)]
        return self._value(value, place, templar)

    def _value(self, value: object, place: str, templar: Templar) -> object:
        try:
            return templar.template(value)
        except (AnsibleError, TemplateError) as error:
            self.report(place, why(error))
            return BROKEN

    def _check_keys(self, given: Mapping[str, Any], spec: Mapping[str, Any], place: str, prefix: str) -> None:
        for key, value in given.items():
            if key not in spec:
                where = f"a key of `{prefix[:-1]}`" if prefix else "a site key"
                self.report(f"{place}.{key}", f"is not {where}; {suggest(str(key), prefix, self.spec)}")
                continue
            self._check_value(value, spec[key], f"{place}.{key}", prefix + key)

    def _check_value(self, value: object, option: Mapping[str, Any], place: str, dotted: str) -> None:
        if value is BROKEN:
            return
        if value is None:
            self.report(place, "is empty; give a value, or leave the key out to get its default")
            return
        fits, remedy = TYPES[option.get("type", "str")]
        if not fits(value):
            self.report(place, remedy)
        elif "choices" in option and value not in option["choices"]:
            self.report(place, f"must be one of: {', '.join(map(str, option['choices']))}")
        elif "options" in option:
            self._check_keys(value, option["options"], place, f"{dotted}.")
        elif dotted == "locations":
            self._check_locations(value, place)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self._check_value(item, {"type": option.get("elements", "raw")}, f"{place}[{number}]", f"{dotted}.*")
        elif isinstance(value, Mapping):
            for name, item in value.items():
                self._apply(f"{dotted}.@", str(name), f"{place}.{name}")
                if "each" in option:
                    each = {"type": "dict", "options": option["each"]}
                    self._check_value(item, each, f"{place}.{name}", f"{dotted}.*")
                else:
                    self._check_scalar(item, f"{place}.{name}", f"{dotted}.*")
        else:
            self._apply(dotted, value, place)

    def _check_locations(self, locations: Mapping[str, Any], place: str) -> None:
        """Each path has a few of the site's own keys, with the same types and rules."""
        known = {key: self.spec[key] for key in LOCATION_KEYS} | LOCATION_ONLY
        for path, keys in locations.items():
            here = f"{place}.{path}"
            if path == "/":
                self.report(here, "is the whole site; set these keys of the site itself")
            elif problem := pattern(PATH, "begin it with /, and leave out ? and #")(path):
                self.report(here, problem)
            if keys is BROKEN:
                continue
            if not isinstance(keys, Mapping):
                self.report(here, TYPES["dict"][1])
                continue
            for key, value in keys.items():
                if key in known:
                    self._check_value(value, known[key], f"{here}.{key}", key)
                else:
                    self.report(f"{here}.{key}", f"is no key of a path; there are: {', '.join(known)}")

    def _check_scalar(self, value: object, place: str, dotted: str) -> None:
        if value is BROKEN:
            return
        if isinstance(value, str | int | float):
            self._apply(dotted, value, place)
        else:
            self.report(place, 'must be one value; write "" for an empty one')

    def _apply(self, dotted: str, value: object, place: str) -> None:
        problem = characters(dotted, value)
        if not problem and (rule := RULES.get(dotted)):
            problem = rule(value)
        if problem:
            self.report(place, problem)

    def _check_whole(self, name: str, site: dict[str, Any]) -> None:
        """Hook for checks of the merged entry; does nothing here."""


def readable(value: Any) -> Any:
    """A value without BROKEN parts; using one of these raises an error that names it."""
    if isinstance(value, Mapping):
        return {key: readable(item) for key, item in value.items() if item is not BROKEN}
    if isinstance(value, list | tuple):
        return [readable(item) for item in value if item is not BROKEN]
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As the `combine` filter with `recursive=true`: dicts merge, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def why(error: BaseException) -> str:
    """Why a template failed: names of variables, never their values."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None:
        chain.append(step)
        step = step.__cause__
    for step in reversed(chain):
        if "ault" in type(step).__name__ or "decrypt" in str(step):
            return "cannot be decrypted; give the vault password (--vault-password-file, or --ask-vault-pass)"
    for step in reversed(chain):
        text = str(getattr(step, "message", step))
        if name := re.search(r"'([A-Za-z_]\w*)' is undefined", text):
            return (
                f"uses the variable `{name[1]}`, which is not defined; define it in the inventory "
                "(a secret: in a vault file beside sites.yml, as vault.yml.example shows)"
            )
        if name := re.search(r"has no attribute '([^']*)'", text):
            return f"asks a variable for `{name[1]}`, which it does not have; check the spelling, or add it there"
    if isinstance(error, AnsibleUndefinedVariable):
        return "uses a variable that is not defined; define it in the inventory"
    return f"cannot be evaluated ({type(chain[-1]).__name__}); check its template"


def suggest(key: str, prefix: str, spec: Mapping[str, Any]) -> str:
    """The most similar valid key, as a hint."""
    every = list(dotted_keys(spec))
    level = [name for name in every if name.startswith(prefix) and "." not in name[len(prefix) :]]
    if close := difflib.get_close_matches(prefix + key, level, n=1, cutoff=0.7):
        return f"did you mean `{close[0]}`?"
    elsewhere = [name for name in every if name.split(".")[-1] == key]
    if elsewhere:
        return f"did you mean `{elsewhere[0]}`?"
    if prefix:
        return f"there are: {', '.join(name[len(prefix) :] for name in level)}"
    return "roles/site/defaults/main.yml lists them all"


def dotted_keys(spec: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of the spec by its dotted name."""
    for key, option in spec.items():
        yield prefix + key
        yield from dotted_keys(option.get("options", {}), f"{prefix}{key}.")
        yield from dotted_keys(option.get("each", {}), f"{prefix}{key}.*.")


def site_spec(argument_specs: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of the keys that a site config may set; a key that holds entries by name has that of one as `each`."""
    options = argument_specs["main"]["options"]
    spec = {key: option for key, option in options["site_entry"]["options"].items() if key not in DERIVED}
    for key in NEEDED:
        spec[key] = {**spec[key], "each": options[f"site_{key}_keys"]["options"]}
    return spec
