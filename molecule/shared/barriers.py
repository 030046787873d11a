"""Releases that wait at a barrier, so that a test can act at a known point however slow the machine is."""

from __future__ import annotations

from support import Site, wait_until


class Barrier:
    """Holds up what is deployed to these sites until it is opened. Hooks run on the first site's host alone."""

    def __init__(self, *sites: Site) -> None:
        self.sites = sites
        self.opened = f"{sites[0].root}/shared/data/barrier-open"
        self.reached = f"{sites[0].root}/shared/data/barrier-reached"
        self._everywhere(f"rm -f {self.opened} {self.reached}")

    @property
    def hooks(self) -> dict[str, list[str]]:
        """Hooks of a release that waits before it starts."""
        return {"before_start": [f"sh -c 'touch {self.reached}; until test -e {self.opened}; do sleep 0.1; done'"]}

    @property
    def code(self) -> str:
        """Code of a release that waits while it starts, but not while its settings are checked."""
        waiting = f"'--check-config' not in sys.argv and not os.path.exists('{self.opened}')"
        return f"import os, sys, time\nwhile {waiting}:\n    open('{self.reached}', 'w').close()\n    time.sleep(0.1)"

    def wait(self) -> None:
        """Wait until a release has reached the barrier."""
        site = self.sites[0]
        wait_until(lambda: site.machine.host.file(self.reached).exists, f"{site.name} has reached the barrier")

    def open(self) -> None:
        """Let the release go on."""
        self._everywhere(f"touch {self.opened}")

    def _everywhere(self, command: str) -> None:
        for site in self.sites:
            site.machine.output(command)
