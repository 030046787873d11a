"""The sample site in revisions that its health page identifies."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import urllib.request
from typing import Any

from measuring.cases import CASES, PACKAGES, Step
from measuring.commands import ROOT, WORK, BenchError
from measuring.hosts import Host

SOURCE = WORK / "app"
ARCHIVE = WORK / "app.tar.gz"
NAME = "wordbook.test"
# Added to the health page: the revision, the server's process, and the installed packages.
MARKS = """{{"status": "ok", "revision": {revision}, "server": __import__("os").getppid(), "packages": [
        name for name in {packages} if __import__("importlib.util").util.find_spec(name)], """


def write(step: Step) -> None:
    """Write the sample site as this step deploys it."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "app", SOURCE, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    health = SOURCE / "wordbook" / "health" / "routes.py"
    before = health.read_text(encoding="utf-8")
    after = before.replace('{"status": "ok", ', MARKS.format(revision=step.revision, packages=PACKAGES))
    if after == before:
        raise BenchError("app/wordbook/health/routes.py no longer has the answer that this script changes")
    health.write_text(after, encoding="utf-8")
    if step.package:
        with (SOURCE / "requirements.txt").open("a", encoding="utf-8") as lock:
            lock.write(locked(step.package))
    # For the baseline, and not part of its time: a build server would make it.
    with tarfile.open(ARCHIVE, "w:gz") as archive:
        for path in sorted(SOURCE.iterdir()):
            archive.add(path, path.name, filter=owned_by_root)


def locked(package: str) -> str:
    """A package's lines in the tests' lock: version and hashes."""
    lock = (ROOT / "requirements" / "test.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{package}==.*\n(?: +--hash=.*\n)+", lock, re.MULTILINE)
    if found is None:
        raise BenchError(f"requirements/test.txt does not lock {package} any more; name another one in PACKAGES")
    return found[0]


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The owner on this machine does not exist on the host."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def health(target: Host) -> dict[str, Any]:
    """The content of the host's health page."""
    request = urllib.request.Request(f"http://{target.address}/healthz", headers={"Host": NAME})
    try:
        # No proxy: the container is on this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        raise BenchError(f"{target.name} does not answer after the run: {error}") from error


def check(host: str, step: Step, before: dict[str, Any], page: dict[str, Any], changed: int) -> None:
    """Make sure that the run had the effect that is timed, and no other.

    :param before: the page before the run
    :param changed: the number of tasks that changed something
    """
    if changed and not CASES[step.case].changes:
        raise BenchError(f"{host} was changed ({changed} tasks) where there was nothing to do")
    if page.get("revision") != step.revision:
        raise BenchError(f"{host} serves another revision than the one just deployed")
    if step.package and step.package not in page["packages"]:
        raise BenchError(f"{host} does not have the package {step.package} that was just deployed")
    if step.case == "restart" and page["server"] == before["server"]:
        raise BenchError(f"{host} still has the processes that it had before the restart")
