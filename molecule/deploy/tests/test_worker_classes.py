"""How many requests each worker class, and uWSGI, is at on a host: by which processes, and by how many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tills import KINDS, Till

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]

# How many requests a worker is at, at once: as many as it has threads, of which this scenario's page gives two; gevent
# all that come.
EACH = {"sync": 1, "gthread": 2, "gevent": 16, "tornado": 1, "uwsgi": 2}


@pytest.fixture(params=KINDS)
def till(tills: list[Till], request: pytest.FixtureRequest) -> Till:
    """One of them."""
    return next(till for till in tills if till.name == f"till_{request.param}")


def test_all_its_workers_are_at_as_many_requests_as_they_should_be(till: Till) -> None:
    each, asked = EACH[till.kind], 16
    with ThreadPoolExecutor(asked) as pool:
        answers = [answer.json for answer in pool.map(lambda _: till.get("/probe", timeout=60), range(asked))]
    most = {answer["pid"]: 0 for answer in answers}
    for answer in answers:
        most[answer["pid"]] = max(most[answer["pid"]], answer["at_once"])
    assert set(most) <= till.workers
    if till.kind == "gevent":  # whose worker takes all that have come by then
        assert sum(most.values()) == asked
    elif till.kind == "tornado":  # whose worker takes what it then lets wait
        assert set(most.values()) == {1}
    else:
        assert set(most) == till.workers and set(most.values()) == {each}
        threads = {(answer["pid"], answer["thread"]) for answer in answers}
        assert len(threads) == each * len(till.workers)
