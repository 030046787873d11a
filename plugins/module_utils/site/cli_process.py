"""Become another program: as the site, through the launcher, or as root."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


class CommandError(Exception):
    """What is wrong and what to do."""


def as_site(site: Layout, words: list[str]) -> NoReturn:
    """Become a command of the live release's, through the launcher, which gives up root."""
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
