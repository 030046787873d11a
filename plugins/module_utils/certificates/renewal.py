"""Certbot has a new certificate: nginx takes it, and the one before it goes."""

from __future__ import annotations

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import Folder, Note, remove
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.nginx import Places, catch_up

KIND = "acme"


def is_taken(folder: Folder, lineage: Lineage) -> bool:
    """Whether what lies where nginx looks is what certbot has."""
    pair = lineage.pair
    return pair is not None and folder.used == folder.named(KIND, pair) and folder.holds(folder.used, pair)


def take(folder: Folder, lineage: Lineage, note: Note, places: Places | None = None) -> None:
    """Give nginx the newest pair, in one step, and let it load it. What it used before goes only then.

    :raises Refused: when nginx stays with what it has loaded
    """
    pair = lineage.pair
    if pair is not None:
        folder.place(KIND, pair, note)
        catch_up(places or Places(), note)
        remove(folder.spare(True), note)
