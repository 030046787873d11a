"""After a renewal: install certbot's new certificate for nginx, and remove the old one."""

from __future__ import annotations

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import Folder, Note, remove
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.nginx import Places, catch_up

KIND = "acme"


def is_taken(folder: Folder, lineage: Lineage) -> bool:
    """Whether the pair that nginx uses is certbot's newest."""
    pair = lineage.pair
    return pair is not None and folder.used == folder.named(KIND, pair) and folder.holds(folder.used, pair)


def take(folder: Folder, lineage: Lineage, note: Note, places: Places | None = None) -> None:
    """Install the newest pair in one step and reload nginx. Only then is the old pair removed.

    :raises Refused: if nginx rejects the reload and keeps its loaded configuration
    """
    pair = lineage.pair
    if pair is not None:
        folder.place(KIND, pair, note)
        catch_up(places or Places(), note)
        remove(folder.spare(True), note)
