"""The number of workers and threads."""

from __future__ import annotations

import pytest

from ansible_collections.wsgi.sites.plugins.module_utils.runtime import workers


@pytest.mark.parametrize(
    ("manifest", "running", "counted"),
    [
        ({"workers": "auto"}, 0, (5, 5, 5)),
        ({"workers": 2}, 9, (2, 2, 2)),
        ({"workers": "auto", "workers_min": 2}, 0, (5, 2, 2)),
        ({"workers": "auto", "workers_min": 2}, 4, (5, 2, 4)),
        ({"workers": 20, "workers_min": 2, "workers_max": 8}, 20, (8, 2, 8)),
    ],
)
def test_autoscaled_workers_start_within_their_limits(
    manifest: dict, running: int, counted: tuple[int, int, int]
) -> None:
    found = workers.environment(manifest, 2, running)
    assert tuple(int(found[f"SITE_WORKERS{word}"]) for word in ("", "_MIN", "_FIRST")) == counted


def test_a_release_of_an_older_version_gets_no_worker_count() -> None:
    assert workers.environment({"id": "of an older version"}, 2, 4) == {}
