"""Data that survives a deploy, a crash and a reboot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from people import Client, png
from support import Site, run_playbook, site_config, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://paper"]


def deploy(book: Site) -> None:
    before, sites = book.release, site_config(wordbook={"threads": 3})
    run = run_playbook("playbooks/deploy.yml", "--extra-vars=site=wordbook", machine=book.machine, sites=sites)
    assert run.rc == 0, run.output
    assert book.release != before


def crash(book: Site) -> None:
    book.machine.output(f"kill -KILL {book.master}")


def reboot(book: Site) -> None:
    book.machine.restart()


@pytest.mark.parametrize("happens", [deploy, crash, reboot])
def test_session_words_and_pictures_survive(admin: Client, book: Site, happens: Callable[[Site], None]) -> None:
    answer = admin.add(f"kept through {happens.__name__}", files={"picture": ("kept.png", png())})
    assert answer.status_code == 302, answer.text
    word = answer.headers["Location"]
    picture = admin.get(word.replace("/words/", "/api/words/")).json()["picture"]

    happens(book)

    wait_until(book.is_healthy, "the word book is healthy")
    assert "admin@example.org" in admin.get("/").text
    assert f"kept through {happens.__name__}" in admin.get(word).text
    assert book.get(picture).status == 200
