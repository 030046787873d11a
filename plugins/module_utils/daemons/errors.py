"""The error whose text a module passes on to the operator unchanged."""

from __future__ import annotations


class Refused(Exception):
    """A refusal; the text names the problem, its place and the remedy."""
