"""The error of a failed build."""

from __future__ import annotations


class BuildError(Exception):
    """A release cannot be built; the text has the problem and the remedy for the operator."""
