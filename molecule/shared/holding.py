"""Releases that wait for a word: a test meets them at the moment that it wants, however slow the machine is."""

from __future__ import annotations

from support import Site


class Hold:
    """Holds up what is deployed to these sites until it is let go."""

    def __init__(self, *sites: Site) -> None:
        self.sites = sites
        self.word = f"{sites[0].root}/shared/data/go-on"
        self._everywhere("rm -f %s")

    @property
    def hooks(self) -> dict[str, list[str]]:
        """For a release that waits before it starts."""
        return {"before_start": [f"sh -c 'until test -e {self.word}; do sleep 0.1; done'"]}

    @property
    def code(self) -> str:
        """For a release that waits as it starts, though not as its settings are checked."""
        waiting = f"'--check-config' not in sys.argv and not os.path.exists('{self.word}')"
        return f"import os, sys, time\nwhile {waiting}:\n    time.sleep(0.1)"

    def let_go(self) -> None:
        """Let it go on."""
        self._everywhere("touch %s")

    def _everywhere(self, command: str) -> None:
        for site in self.sites:
            site.machine.output(command, self.word)
