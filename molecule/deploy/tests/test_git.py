"""A site from a git repository: by tag, another version for one run, and back to the one of the site config."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from ledger import live_releases, run_ok
from support import PROJECT, Site, site_config

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]

# One hash over all files of the site's code in a release.
BYTES = "cd %s/live/release/app && find . -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum"


class Repository:
    """The ledger's code in a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(shutil.copytree(PROJECT / "molecule/deploy/ledger", folder))
        self.git("init", "--quiet")

    def git(self, *words: str) -> str:
        """Run git independently of the user's settings."""
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, tag: str) -> str:
        """Commit all files and tag them; returns the commit."""
        # Unlike any code that was deployed before: the same bytes would be the same release.
        (self.folder / "version").write_text(f"{tag} {uuid.uuid4()}")
        self.git("add", "--all")
        self.git("commit", "--quiet", f"--message={tag}")
        self.git("tag", tag)
        return self.git("rev-parse", "HEAD")


def test_deploy_a_tag_then_another_and_back(ledgers: list[Site], tmp_path: Path) -> None:
    repository = Repository(tmp_path / "ledger")
    commits = {tag: repository.commit(tag) for tag in ("v1.0", "v1.1")}
    url = f"file://{repository.folder}"
    sites = site_config(ledger={"source": {"path": "", "git": url, "version": "v1.0"}})

    lives = {}
    for tag, words in (("v1.0", []), ("v1.1", ["version=v1.1"]), ("v1.0", [])):
        output = run_ok("deploy", *words, sites=sites).output
        (live,) = live_releases(ledgers)
        for site in ledgers:
            row = next(line for line in output.splitlines() if line.split()[:2] == [site.machine.name, "ledger"])
            assert f" {tag} {commits[tag][:7]} " in row
            assert site.machine.output("cat %s/live/release/app/version", site.root).split()[0] == tag
        assert len({site.machine.output(BYTES, site.root) for site in ledgers}) == 1, "both hosts have the same code"
        lives[tag] = live
    retained = run_ok("releases").output.splitlines()
    for tag, live in lives.items():
        row = next(line for line in retained if live in line)
        assert row.endswith(f"git {url} {tag} ({commits[tag]})")
    assert f"{url} v1.0 ({commits['v1.0']})" in ledgers[1].machine.output("ledger-ctl status")
