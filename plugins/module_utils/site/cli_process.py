"""Exec another program, as root or through the launcher as the site's user."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


class CommandError(Exception):
    """An error with its remedy."""


def as_site(site: Layout, words: list[str]) -> NoReturn:
    """Exec a command of the live release by the launcher, which drops root."""
    if site.live_release() is None:
        raise CommandError("nothing is live yet; deploy it first")
    execute([str(paths.LIBRARY / "launcher"), str(site.root), "run", "--", *words], os.environ)


def execute(words: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Become a program."""
    sys.stdout.flush()
    try:
        os.execvpe(words[0], words, dict(environment))
    except OSError as error:
        raise CommandError(f"cannot run {words[0]}: {error.strerror}") from None
