"""A browser that finds the sites by name, and the mails that they sent."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import testinfra
import yaml
from playwright.sync_api import Browser, Page, sync_playwright
from support import EPHEMERAL, PROJECT, SITES, Machine, Site, until

# What a person would have seen; kept after the run.
SCREENS = PROJECT / "build" / "screens"
# Nothing of the browser's own goes out, and no sandbox: its processes are root's on machines that run tests.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which finds every site of the page at the host `paper`."""
    instances = yaml.safe_load((EPHEMERAL / "instance_config.yml").read_text())
    address = next(item["address"] for item in instances if item["instance"] == "paper")
    names = ", ".join(f"MAP {site['server_names'][0]} {address}" for site in SITES.values())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*FLAGS.split(), f"--host-resolver-rules={names}"]
        )
        yield browser
        browser.close()
