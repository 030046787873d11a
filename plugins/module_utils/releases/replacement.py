"""Going live for a site that may not run twice at once (`going_live: replace`): which slot was stopped for another.

The note is written before the live slot stops, and goes when nothing may have to come back any more. A boot forgets it,
and starts what is live.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import runtime


@dataclass(frozen=True)
class Stopped:
    """The slot that was live and is stopped.

    :param previous: what the record of the previous release said then
    :param since: when it stopped, in seconds since the boot: all processes see one clock, which nobody sets
    :param away: for how many seconds nobody answered, once the other one does
    """

    slot: str
    release: str
    previous: str
    since: float
    away: float = 0.0


def wanted(site: Layout, release_id: str) -> bool:
    """Whether the live slot has to stop before this release starts: if either of the two says so."""
    live = site.live_release()
    return live is not None and "replace" in (
        site.manifest(release_id).get("going_live"),
        site.manifest(live).get("going_live"),
    )


def read(site: Layout) -> Stopped | None:
    """Who is stopped, or None."""
    try:
        return Stopped(**json.loads(site.stopped.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write(site: Layout, note: Stopped) -> None:
    """Note who is stopped."""
    runtime.make_folder(paths.RUN)
    write_file(site.stopped, json.dumps(asdict(note)) + "\n", 0o600)
