"""Add one entry to a YAML file of the inventory, leaving every other byte of it, comments included, as it is."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT


class _Loader(yaml.SafeLoader):
    """Reads what Ansible's own tags stand for as tag and text, so that files with `!vault` can be compared."""


_Loader.add_multi_constructor("!", lambda loader, tag, node: (tag, getattr(node, "value", None) and str(node.value)))


class ActionModule(ActionBase):
    """``add_entry: {file, below: [key, …], name, text}``; fails when the name is there already."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"file", "below", "name", "text"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the file with the entry in it, or say why not."""
        result = super().run(tmp, task_vars)
        arguments = self._task.args
        path = PROJECT / str(arguments["file"])
        before = path.read_text(encoding="utf-8") if path.exists() else "---\n"
        try:
            after = insert(before, [str(key) for key in arguments["below"]], str(arguments["name"]), arguments["text"])
        except ValueError as error:
            raise AnsibleActionFail(f"{arguments['file']}: {error}") from None
        if not self._task.check_mode:
            replace(path, after)
        result["changed"] = True
        result["diff"] = {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}
        return result


def insert(text: str, below: list[str], name: str, entry: str) -> str:
    """Put an entry at the end of the mapping that ``below`` leads to.

    :param text: the file as it is
    :param below: the keys from the top of the file to the mapping; the last may be missing, or empty
    :param name: the key of the new entry
    :param entry: the new entry with its key, in YAML, unindented
    :raises ValueError: says what is wrong with the file, and what to do
    """
    try:
        root = yaml.compose(text, _Loader)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        raise ValueError(f"is not valid YAML{f' (line {place.line + 1})' if place else ''}; mend it first.") from None
    if root is None or nothing(root):
        return verified(text, add(text, None, wrap(below, entry)), below, name, entry)
    node, holder = root, None
    for depth, key in enumerate(below):
        if not isinstance(node, yaml.MappingNode):
            raise ValueError(f"`{'.'.join(below[:depth])}` is not a mapping; write the entry by hand.")
        found = next((pair for pair in node.value if pair[0].value == key), None)
        if found is None:
            if depth < len(below) - 1:
                raise ValueError(f"there is no `{key}`{among(key, node)}")
            return verified(text, add(text, node, wrap([key], entry)), below, name, entry)
        holder, node = found
        if nothing(node):
            # `sites: {}` or `sites:`: what stands there for nothing makes room for the first entry.
            head, tail = (
                text[: holder.end_mark.index] + ":",
                text[max(node.end_mark.index, holder.end_mark.index + 1) :],
            )
            rest_of_line, _, tail = tail.partition("\n")
            first = indent(wrap(below[depth + 1 :], entry).lstrip("\n"), holder.start_mark.column + 2)
            return verified(text, f"{head}{rest_of_line.rstrip()}\n{first}{tail}", below, name, entry)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"`{'.'.join(below)}` is not a mapping; write the entry by hand.")
    if any(key.value == name for key, _ in node.value):
        raise ValueError(f"there is a {name} already; nothing was changed.")
    if node.flow_style:
        raise ValueError(f"`{'.'.join(below)}` is written in {{ }}; put each entry on its own line first.")
    return verified(text, add(text, node, entry), below, name, entry)


def nothing(node: yaml.Node) -> bool:
    """`{}`, `~`, or no value at all."""
    return not node.value or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"))


def wrap(keys: list[str], entry: str) -> str:
    """The entry below these keys."""
    for key in reversed(keys):
        entry = f"{key}:\n{indent(entry.lstrip(chr(10)), 2)}"
    return entry


def add(text: str, node: yaml.MappingNode | None, entry: str) -> str:
    """The text with an entry after the mapping's last one; comments of what comes next stay with that."""
    lines = text.splitlines(keepends=True)
    if node is None:
        return (text if text.endswith("\n") else f"{text}\n") + entry
    column = node.value[0][0].start_mark.column
    end = node.end_mark.line + (1 if node.end_mark.column > column else 0)
    first = node.value[-1][0].start_mark.line
    while end > first + 1 and outside(lines[end - 1] if end <= len(lines) else "", column):
        end -= 1
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    return (
        "".join(lines[:end]) + "\n" * entry.startswith("\n") + indent(entry.lstrip("\n"), column) + "".join(lines[end:])
    )


def outside(line: str, column: int) -> bool:
    """A blank line, or a comment further out than the mapping."""
    bare = line.lstrip()
    return not bare or (bare.startswith("#") and len(line) - len(bare) < column) or bare.rstrip() in ("...", "---")


def indent(text: str, columns: int) -> str:
    """Every line moved in; ends with a newline."""
    return "".join(f"{' ' * columns}{line}\n" if line.strip() else "\n" for line in text.rstrip("\n").split("\n"))


def verified(text: str, new: str, below: list[str], name: str, entry: str) -> str:
    """The new text, once it is sure that it says what the old one said, and the new entry, and nothing else."""
    wanted = yaml.load(entry, _Loader)  # noqa: S506
    expected = yaml.load(text, _Loader) or {}  # noqa: S506
    place = expected
    for key in below[:-1]:
        place[key] = place.get(key) or {}
        place = place[key]
    place[below[-1]] = {**(place.get(below[-1]) or {}), **wanted}
    try:
        matches = list(wanted) == [name] and yaml.load(new, _Loader) == expected  # noqa: S506
    except yaml.YAMLError:
        matches = False
    if not matches:
        raise ValueError(
            "is laid out in a way that this cannot add to safely; nothing was changed. Add the entry by hand."
        )
    return new


def among(key: str, node: yaml.MappingNode) -> str:
    """What there is instead, the likeliest first."""
    names = [str(name.value) for name, _ in node.value]
    close = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names) or 'none'}."


def replace(path: Path, text: str) -> None:
    """Write the file at once, with the rights that it had."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(path.stat().st_mode & 0o7777 if path.exists() else 0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        raise AnsibleActionFail(f"Cannot write {path}: {error.strerror}.") from None
