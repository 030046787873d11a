"""The record of a slot that was stopped so that another can start, for `going_live: replace`.

It is written before the live slot stops, and removed once the old slot can no longer be needed. A boot clears it and
starts the live slot.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import runtime


@dataclass(frozen=True)
class Stopped:
    """The stopped slot.

    :param previous: the previous release at that time
    :param since: when it stopped, on the monotonic clock, which all processes share
    :param downtime: seconds of downtime, once the other slot answers
    """

    slot: str
    release: str
    previous: str
    since: float
    downtime: float = 0.0


def wanted(site: Layout, release_id: str) -> bool:
    """Whether the live slot must stop before this release starts: if either release is set to it."""
    live = site.live_release()
    return live is not None and "replace" in (
        site.manifest(release_id).get("going_live"),
        site.manifest(live).get("going_live"),
    )


def read(site: Layout) -> Stopped | None:
    """The record of the stopped slot, or None."""
    try:
        return Stopped(**json.loads(site.stopped.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write(site: Layout, note: Stopped) -> None:
    """Write the record of the stopped slot."""
    runtime.make_folder(paths.RUN)
    write_file(site.stopped, json.dumps(asdict(note)) + "\n", 0o600)
