"""What a release is made from, got together on the controller: the source's files, and the wheels of its lock."""

from __future__ import annotations


class InputError(Exception):
    """What a release is made from cannot be had; the text names what is wrong and the remedy, and holds no secret."""
