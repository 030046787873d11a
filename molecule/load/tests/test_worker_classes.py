"""How many requests each server kind handles at a time on a host: by which processes, and by how many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from shops import SERVER_KINDS, Shop

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://market"]

# Requests that one worker handles at a time: as many as it has threads (two in this scenario); gevent takes all.
CONCURRENCY = {"sync": 1, "gthread": 2, "gevent": 16, "tornado": 1, "uwsgi": 2}


@pytest.fixture(params=SERVER_KINDS)
def shop(shops: list[Shop], request: pytest.FixtureRequest) -> Shop:
    """The shop of this server kind."""
    return next(shop for shop in shops if shop.name == f"shop_{request.param}")


def test_all_workers_handle_as_many_requests_as_configured(shop: Shop) -> None:
    expected, sent = CONCURRENCY[shop.kind], 16
    with ThreadPoolExecutor(sent) as pool:
        answers = [answer.json for answer in pool.map(lambda _: shop.get("/probe", timeout=60), range(sent))]
    most = {answer["pid"]: 0 for answer in answers}
    for answer in answers:
        most[answer["pid"]] = max(most[answer["pid"]], answer["concurrent"])
    assert set(most) <= shop.workers
    if shop.kind == "gevent":  # a worker takes every request that has arrived
        assert sum(most.values()) == sent
    elif shop.kind == "tornado":  # a worker accepts requests that it then lets wait
        assert set(most.values()) == {1}
    else:
        assert set(most) == shop.workers and set(most.values()) == {expected}
        threads = {(answer["pid"], answer["thread"]) for answer in answers}
        assert len(threads) == expected * len(shop.workers)
