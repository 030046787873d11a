"""The site recognizes the forward proxy of a client: squid in four configurations."""

from __future__ import annotations

import pytest
import requests
from support import Machine, Site

testinfra_hosts = ["ansible://ink"]
PORTS = {"transparent": 3131, "anonymous": 3132, "distorting": 3133, "elite": 3134}


@pytest.mark.parametrize("kind", PORTS)
def test_the_kind_of_proxy_is_recognized(machine: Machine, book: Site, kind: str) -> None:
    own = book.get("/healthz").client
    proxy = f"http://{machine.address}:{PORTS[kind]}"
    answer = requests.get(
        f"http://{book.server_name}/whoami", params={"my_address": own}, proxies={"http": proxy}, timeout=20
    ).json()
    assert answer["remote_addr"] == machine.address
    assert answer["forwarded_for"] == machine.address
    assert answer["proxy"] == kind, answer


def test_without_a_proxy_there_is_none(book: Site) -> None:
    own = book.get("/healthz").client
    assert book.get(f"/whoami?my_address={own}").json["proxy"] == "none"
    assert book.get("/whoami").json["proxy"] == "none or elite"
