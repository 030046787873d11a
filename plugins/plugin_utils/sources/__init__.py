"""Collects the inputs of a release on the controller: the source's files, and the wheels of its lock."""

from __future__ import annotations


class InputError(Exception):
    """An input of a release is not available; the text has the problem and the remedy, and no secrets."""
