"""The error of a build."""

from __future__ import annotations


class BuildError(Exception):
    """A release cannot be built; the text is for the operator: what is wrong, and the remedy."""
