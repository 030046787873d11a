"""Inserts an entry into the text of a YAML file without changing other lines or comments.

A round trip by ruamel.yaml is no substitute. It rewrites lists and flow mappings that are laid out differently from
each other and lines that are folded, and it puts the entry below the comment of the next key.
"""

from __future__ import annotations

import difflib

import yaml


class Loader(yaml.SafeLoader):
    """Loads values with Ansible's tags as tag and text, so that files with `!vault` can be compared."""


Loader.add_multi_constructor("!", lambda loader, tag, node: (tag, getattr(node, "value", None) and str(node.value)))


def insert(text: str, below: list[str], name: str, entry: str) -> str:
    """Put an entry at the end of the mapping that ``below`` leads to.

    :param text: the file as it is
    :param below: the keys from the top of the file to the mapping; the last may be missing, or empty
    :param name: the key of the new entry
    :param entry: the new entry with its key, in YAML, unindented
    :raises ValueError: with the problem of the file and the remedy
    """
    node, key, end = compose(text), None, len(text.splitlines())
    path, missing = [], list(below)
    while missing and not empty(node):
        number = position(mapping(node, path), missing[0])
        if number is None:
            if len(missing) > 1:
                raise ValueError(f"there is no `{missing[0]}`{among(missing[0], node)}")
            break
        # The mapping ends where the next key of an outer one begins.
        end = node.value[number + 1][0].start_mark.line if number + 1 < len(node.value) else end
        key, node = node.value[number]
        path.append(missing.pop(0))
    block = nested(missing, entry)
    if empty(node):
        new = fill(text, key, node, block) if key else with_newline(text) + block
    else:
        if not missing and position(mapping(node, path), name) is not None:
            raise ValueError(f"there is a {name} already; nothing was changed.")
        if node.flow_style:
            raise ValueError(f"`{'.'.join(path)}` is written in {{ }}; put each entry on its own line first.")
        new = append(text, node, end, block)
    check(text, new, below, name, entry)
    return new


def compose(text: str) -> yaml.Node | None:
    """Parse the file to nodes with line numbers."""
    try:
        return yaml.compose(text, Loader)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        raise ValueError(f"is not valid YAML{f' (line {place.line + 1})' if place else ''}; mend it first.") from None


def empty(node: yaml.Node | None) -> bool:
    """Whether it is `{}`, `~`, or has no value."""
    return node is None or not node.value or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"))


def mapping(node: yaml.Node, path: list[str]) -> yaml.MappingNode:
    """The node, which must be a mapping."""
    if not isinstance(node, yaml.MappingNode):
        what = f"`{'.'.join(path)}`" if path else "the file"
        raise ValueError(f"{what} is not a mapping; write the entry by hand.")
    return node


def position(node: yaml.MappingNode, name: str) -> int | None:
    """The number of a key in a mapping."""
    return next((number for number, (key, _) in enumerate(node.value) if key.value == name), None)


def among(key: str, node: yaml.MappingNode) -> str:
    """The most similar existing name, or all names."""
    names = [str(name.value) for name, _ in node.value]
    close = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names) or 'none'}."


def nested(keys: list[str], entry: str) -> str:
    """The entry below these keys."""
    for key in reversed(keys):
        entry = f"{key}:\n{indent(entry, 2)}"
    return entry


def fill(text: str, key: yaml.Node, value: yaml.Node, block: str) -> str:
    """The text with a block as the value of a key, in the place of `{}`, `~` or nothing."""
    rest = text[max(value.end_mark.index, key.end_mark.index + 1) :]
    comment, _, below = rest.partition("\n")
    head = f"{text[: key.end_mark.index]}:{comment.rstrip()}\n"
    return head + indent(block, key.start_mark.column + 2) + below


def append(text: str, node: yaml.MappingNode, end: int, block: str) -> str:
    """The text with a block after the mapping's last entry; comments of the next key stay with that.

    :param end: the first line after the mapping and what follows it, such as comments
    """
    lines = with_newline(text).splitlines(keepends=True)
    column = node.value[0][0].start_mark.column
    last = node.value[-1][0].start_mark.line
    while end > last + 1 and outside(lines[end - 1], column):
        end -= 1
    blank = "\n" if block.startswith("\n") else ""
    return "".join([*lines[:end], blank, indent(block, column), *lines[end:]])


def outside(line: str, column: int) -> bool:
    """Whether it is a blank line, the end of the document, or a comment further out than the mapping."""
    bare = line.lstrip()
    return not bare or (bare.startswith("#") and len(line) - len(bare) < column) or bare.rstrip() in ("...", "---")


def indent(block: str, columns: int) -> str:
    """Every line moved in, without blank lines around them; ends with a newline."""
    return "".join(f"{' ' * columns}{line}\n" if line.strip() else "\n" for line in block.strip("\n").split("\n"))


def with_newline(text: str) -> str:
    """The text with a newline at its end."""
    return text if text.endswith("\n") else f"{text}\n"


def check(text: str, new: str, below: list[str], name: str, entry: str) -> None:
    """Check that the new text has the content of the old one and the new entry, and nothing else."""
    wanted = yaml.load(entry, Loader)  # noqa: S506 - a SafeLoader
    expected = yaml.load(text, Loader) or {}  # noqa: S506
    place = expected
    for key in below[:-1]:
        place[key] = place.get(key) or {}
        place = place[key]
    place[below[-1]] = {**(place.get(below[-1]) or {}), **wanted}
    try:
        matches = list(wanted) == [name] and yaml.load(new, Loader) == expected  # noqa: S506
    except yaml.YAMLError:
        matches = False
    if not matches:
        raise ValueError(
            "has a layout that an entry cannot be added to safely; nothing was changed. Add the entry by hand."
        )
