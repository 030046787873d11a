"""The one error that a module passes on to the operator as it is."""

from __future__ import annotations


class Refused(Exception):
    """What is wrong, where, and what to do about it."""
