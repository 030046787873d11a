"""The wanted number of workers, computed from samples of a server."""

from __future__ import annotations

import math
from typing import NamedTuple

# Seconds that new workers get to start before more are added.
START = 2.0
# Seconds without a waiting request after which a worker stops.
CALM = 30.0
# Seconds after which an unexpected number of workers, lower or higher, becomes the wanted one: the master replaces an
# ended worker at once, and a worker that finishes its requests takes some time.
FEWER, MORE = 5.0, 120.0


class Sample(NamedTuple):
    """The state of a server at one moment."""

    now: float
    workers: int
    # IDs of waiting requests: connections that are not accepted yet, or not read.
    waiting: frozenset[int]
    # Connections that workers have accepted.
    accepted: int


class Policy:
    """Adds or stops one worker at a time.

    :param least: the fewest workers
    :param most: the most workers
    :param each: requests that a worker handles at once
    """

    def __init__(self, least: int, most: int, each: int) -> None:
        self.least, self.most, self.each = least, most, each
        # The wanted number of workers; unknown until the number has been stable for a while.
        self.wanted: int | None = None
        # Workers that are still to be added.
        self.pending = 0
        # Why the last decision was made.
        self.reason = ""
        self.waited: frozenset[int] = frozenset()
        self.calm_since = self.more_from = self.seen_since = 0.0
        self.peak, self.seen = 0, -1

    def decide(self, sample: Sample) -> int:
        """1 if a worker is to be added, -1 if one is to stop, else 0."""
        still, self.waited = self.waited & sample.waiting, sample.waiting
        if sample.workers != self.seen:
            self.seen, self.seen_since = sample.workers, sample.now
        if not self.counted(sample.now):
            return 0
        if still:
            self.calm_since, self.peak = sample.now, 0
            if sample.now >= self.more_from:
                self.pending = min(self.wanted, math.ceil(len(still) / self.each))
                self.more_from = sample.now + START
                self.reason = f"{len(still)} waiting"
        self.peak = max(self.peak, sample.accepted)
        if self.wanted < self.least:
            self.pending, self.reason = max(self.pending, 1), "fewer than the minimum"
        self.pending = min(self.pending, self.most - self.wanted)
        if self.pending > 0:
            self.pending -= 1
            self.wanted += 1
            return 1
        too_many = self.wanted > self.most
        if (too_many or self.is_calm(sample.now)) and not sample.accepted:
            self.wanted -= 1
            self.calm_since, self.peak = sample.now, 0
            self.reason = "more than the maximum" if too_many else "no request has waited"
            return -1
        return 0

    def counted(self, now: float) -> bool:
        """Whether the wanted number is known: the one that has been stable for a while."""
        if self.wanted is None:
            if now - self.seen_since < START or not self.seen:
                return False
            self.wanted, self.calm_since = self.seen, now
        elif self.seen != self.wanted and now - self.seen_since > (FEWER if self.seen < self.wanted else MORE):
            self.wanted = self.seen
        return True

    def is_calm(self, now: float) -> bool:
        """Whether one worker fewer would have sufficed during the whole recent period."""
        if self.wanted <= self.least or now - self.calm_since < CALM:
            return False
        if self.peak <= (self.wanted - 1) * self.each:
            return True
        self.calm_since, self.peak = now, 0
        return False
