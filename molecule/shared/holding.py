"""Releases that wait for a word: a test meets them at the moment that it wants, however slow the machine is."""

from __future__ import annotations

from support import Site, until


class Hold:
    """Holds up what is deployed to these sites until it is let go; hooks run on the first host alone."""

    def __init__(self, *sites: Site) -> None:
        self.sites = sites
        self.word = f"{sites[0].root}/shared/data/go-on"
        self.mark = f"{self.word}.wanted"
        self._everywhere(f"rm -f {self.word} {self.mark}")

    @property
    def hooks(self) -> dict[str, list[str]]:
        """For a release that waits before it starts."""
        return {"before_start": [f"sh -c 'touch {self.mark}; until test -e {self.word}; do sleep 0.1; done'"]}

    @property
    def code(self) -> str:
        """For a release that waits as it starts, though not as its settings are checked."""
        waiting = f"'--check-config' not in sys.argv and not os.path.exists('{self.word}')"
        return f"import os, sys, time\nwhile {waiting}:\n    open('{self.mark}', 'w').close()\n    time.sleep(0.1)"

    def wait(self) -> None:
        """Return when a release has come so far that it waits."""
        site = self.sites[0]
        until(lambda: site.machine.host.file(self.mark).exists, f"a release of {site.name} waits for a word")

    def let_go(self) -> None:
        """Let it go on."""
        self._everywhere(f"touch {self.word}")

    def _everywhere(self, command: str) -> None:
        for site in self.sites:
            site.machine.output(command)
