"""Validates a host's answer to a module: bounded, with the keys and types of the module's ``RETURN``.

Anything else is refused with the host's name, since a compromised host can answer anything.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import module_loader

from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible
from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config

# Far more than any module returns.
LONGEST_TEXT = 16 << 20
LONGEST_MESSAGE = 64 << 10
MOST_ITEMS = 20_000
DEEPEST = 8
LARGEST = 1 << 53
# Keys that Ansible itself adds to a result.
SPOKEN = {"msg": str, "changed": bool, "failed": bool}
ANSIBLES = {"invocation", "exception", "deprecations", "warnings", "diff", *SPOKEN}
# A path that Ansible may execute.
INTERPRETER = re.compile(r"/[\w./-]+")
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list, tuple),
    "dict": (Mapping,),
    "raw": (object,),
}
REMEDY = (
    "Nothing of its answer was used. Check that host: its Python is not the system's, or it is compromised. "
    "To go on without it: -l '!{host}'."
)


class InvalidAnswer(Exception):
    """An answer that the module cannot have returned; the text names the part without quoting it."""


def ask(action: ActionBase, module: str, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """The host's answer to a module, or a failure that names the host."""
    site_config.guard(variables)
    answer = action._execute_module(module, arguments, task_vars=variables)
    found = interpreter(action, answer)
    try:
        taken = taken_in(answer, described(Path(module_loader.find_plugin(module))))
    except InvalidAnswer as problem:
        host = str(variables.get("inventory_hostname", "the host"))
        raise AnsibleActionFail(refusal(host, module, problem)) from None
    return taken | ({"ansible_facts": {**taken.get("ansible_facts", {}), **found}} if found else {})


def interpreter(action: ActionBase, answer: dict[str, Any]) -> dict[str, Any]:
    """Remove and return the path of the host's Python, if Ansible has discovered it and added it to the answer."""
    key, path = action._discovered_interpreter_key, action._discovered_interpreter
    if not key:
        return {}
    facts = answer.get("ansible_facts")
    if not isinstance(facts, dict) or facts.pop(key, None) != path or not INTERPRETER.fullmatch(str(path)):
        raise AnsibleActionFail("the host's Python was not found; name it: ansible_python_interpreter=/usr/bin/python3")
    if not facts:
        del answer["ansible_facts"]
    return {key: path}


@functools.cache
def described(module: Path) -> dict[str, Any]:
    """The ``RETURN`` of a module's file."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(name, "id", "") for name in node.targets] == ["RETURN"]:
            return yaml.safe_load(ast.literal_eval(node.value)) or {}
    return {}


def taken_in(answer: Mapping[str, Any], returns: Mapping[str, Any]) -> dict[str, Any]:
    """The answer with only the keys that its module documents, and with control characters made visible.

    :param answer: the module's result
    :param returns: its ``RETURN``
    :raises InvalidAnswer: for any other answer
    """
    speechless = answer.get("failed") is True and not isinstance(answer.get("msg"), str)
    if speechless or answer.get("_ansible_parsed") is False:
        said = str(answer.get("module_stderr") or answer.get("module_stdout") or answer.get("msg") or "nothing")
        return {"failed": True, "changed": False, "msg": f"no answer that Ansible understands: {words(said)}"}
    taken = {key: answer[key] for key in answer if str(key).startswith("_ansible_")}
    taken |= {key: _value(answer[key], {"type": type_.__name__}, key) for key, type_ in SPOKEN.items() if key in answer}
    taken |= _of_ansible(answer)
    if taken.get("failed"):
        taken["msg"] = words(answer["msg"])
    for key, value in answer.items():
        if key in returns:
            taken[key] = _value(value, returns[key], key)
        elif key not in ANSIBLES and not str(key).startswith("_ansible_") and not taken.get("failed"):
            raise InvalidAnswer(f"`{words(str(key), 40)}` is not a key that it returns")
    missing = [key for key, spec in returns.items() if spec.get("returned") == "always" and key not in answer]
    if missing and not taken.get("failed"):
        raise InvalidAnswer(f"`{missing[0]}` is missing")
    return taken


def _of_ansible(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Warnings, diffs and the traceback of a failed module, as texts."""
    taken: dict[str, Any] = {}
    if answer.get("warnings"):
        taken["warnings"] = [words(_event(one)) for one in _some(answer["warnings"], "warnings")]
    for key in ("diff", "invocation"):
        if isinstance(answer.get(key), list | tuple | Mapping):
            taken[key] = shown(answer[key])
    event = getattr(answer.get("exception"), "event", None)
    if trace := getattr(event, "formatted_traceback", None):
        taken["traceback"] = words(str(trace)).splitlines()
    return taken


def shown(value: Any, depth: int = 0) -> Any:
    """A value for display only, shortened if it is long or deep."""
    if isinstance(value, str):
        return words(value, LONGEST_TEXT)
    if isinstance(value, bool | int | float | None):
        return value
    if depth > DEEPEST or not isinstance(value, Mapping | list | tuple):
        return "…"
    if isinstance(value, Mapping):
        few = list(value.items())[:MOST_ITEMS]
        return {words(str(key), LONGEST_MESSAGE): shown(item, depth + 1) for key, item in few}
    return [shown(item, depth + 1) for item in value[:MOST_ITEMS]]


def _event(warning: object) -> str:
    return str(getattr(getattr(warning, "event", None), "msg", warning))


def _value(value: Any, spec: Mapping[str, Any], place: str, depth: int = 0) -> Any:
    """Check a value and everything below it against the documented type."""
    kind = spec.get("type", "raw")
    fits = isinstance(value, TYPES[kind]) and (kind in ("bool", "raw") or not isinstance(value, bool))
    if depth > DEEPEST or not fits:
        raise InvalidAnswer(f"`{place}` is {'nested too deeply' if fits else f'no {kind}'}")
    if isinstance(value, str):
        return visible(_short(value, place))
    if isinstance(value, Mapping):
        contains = spec.get("contains", {})
        for key, inner in contains.items():
            if key not in value and inner.get("returned") == "always":
                raise InvalidAnswer(f"`{place}.{key}` is missing")
        if contains and (unknown := sorted(map(str, value.keys() - contains.keys()))):
            raise InvalidAnswer(f"`{place}.{words(unknown[0], 40)}` is not a key that it returns")
        named = {visible(_short(str(key), place)): (key, item) for key, item in _some(value, place).items()}
        return {
            name: _value(item, contains.get(key, {}), f"{place}.{name[:40]}", depth + 1)
            for name, (key, item) in named.items()
        }
    if isinstance(value, list | tuple):
        inner = {"type": spec.get("elements", "raw"), "contains": spec.get("contains", {})}
        return [_value(item, inner, f"{place}[{number}]", depth + 1) for number, item in enumerate(_some(value, place))]
    if isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise InvalidAnswer(f"`{place}` is not a valid number")
    if value is not None and not isinstance(value, bool | int | float):
        raise InvalidAnswer(f"`{place}` is no data")
    return value


def _some(values: Any, place: str) -> Any:
    if len(values) > MOST_ITEMS:
        raise InvalidAnswer(f"`{place}` has {len(values)} entries")
    return values


def _short(text: str, place: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise InvalidAnswer(f"`{place}` has {len(text)} characters")
    return text


def words(text: str, most: int = LONGEST_MESSAGE) -> str:
    """The end of a text, where errors are, with control characters made visible."""
    return visible(text if len(text) <= most else f"…{text[-most:]}")


def refusal(host: str, module: str, problem: InvalidAnswer) -> str:
    """The message for the operator."""
    return f"{host} returned an invalid answer to {module}: {problem}. {REMEDY.format(host=host)}"
