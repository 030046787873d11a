"""Decides whether a site needs a new release, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.releases import fingerprint, store
from ansible_collections.wsgi.sites.plugins.module_utils.releases.health import healthy
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


@dataclass(frozen=True)
class Decision:
    """The decision: nothing to do, start a retained release, or build one."""

    needed: bool
    reason: str
    slot: str
    release: str = ""
    suspicious_cache: bool = False

    @property
    def build(self) -> bool:
        """Whether a new release has to be built."""
        return self.needed and not self.release


def decide(layout: Layout, parts: dict[str, str]) -> Decision:
    """Compare the parts of the wanted release with the live one, and check the live one's state."""
    slot, live = layout.live_slot(), layout.live_release()
    idle = layout.idle_slot()
    if slot is None or live is None:
        return Decision(True, "first release", idle, same_release(layout, parts))
    release = layout.release(live)
    found = fingerprint.read(release)
    if found:
        reason = fingerprint.difference(parts, found["parts"])
        if reason:
            return Decision(True, reason, idle, same_release(layout, parts))
    damage = fingerprint.damage(release)
    if damage:
        reason = "files of the live release were changed on the host"
        return Decision(True, reason, idle, same_release(layout, parts), damage == "packages")
    reason = program_problem(layout, slot, release)
    if not reason:
        is_healthy, seen = healthy(layout, slot, layout.manifest(live))
        if not is_healthy:
            reason = f"slot {slot} is not healthy: {seen}"
    if reason:
        return Decision(True, reason, idle, live)
    return Decision(False, "the live release matches the site config", slot, live)


def same_release(layout: Layout, parts: dict[str, str]) -> str:
    """A complete release of the same parts (from an interrupted run, or from before a reverted change)."""
    for name in reversed(store.complete(layout)):
        release = layout.release(name)
        if fingerprint.read(release).get("parts") == parts and not fingerprint.damage(release):
            return name
    return ""


def program_problem(layout: Layout, slot: str, release: Path) -> str:
    """The problem with the live slot's program file, or an empty text."""
    path = layout.program(slot)
    try:
        placed = path.read_bytes()
    except OSError:
        return f"the program file {path} is missing"
    built = release / f"program-{slot}.conf"
    same = built.is_file() and built.read_bytes() == placed
    return "" if same else f"the program file {path} was changed on the host"
