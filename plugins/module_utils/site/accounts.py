"""Lookup of the system's users and groups, including those of a directory service."""

from __future__ import annotations

import grp
import pwd


def find_user(name: str) -> pwd.struct_passwd | None:
    """The account of this name, or None."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def find_group(name: str) -> grp.struct_group | None:
    """The group of this name, or None."""
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None
