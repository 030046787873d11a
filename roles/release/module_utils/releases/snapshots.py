"""Copies of a site's SQLite databases, taken before its hooks may change them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from ansible.module_utils.daemons.text import visible
from ansible.module_utils.releases.layout import Layout
from ansible.module_utils.releases.runas import run_as
from ansible.module_utils.releases.steps import StepError
from ansible.module_utils.releases.venv import PYTHON

KEEP = 3
TIMEOUT = 600

# Runs as the site's user, who can neither read nor overwrite what is not the site's own, wherever a link leads. The
# system's Python, without the site's packages.
SCRIPT = r"""
import contextlib, json, os, re, shutil, sqlite3, sys, time, urllib.parse

data, name, keep = sys.argv[1], sys.argv[2], int(sys.argv[3])
top = os.path.join(data, ".snapshots")
ROOM = 16 << 20
PATIENCE = 30

def patiently():
    # backup() waits for a lock for ever unless this raises.
    deadline = time.monotonic() + PATIENCE
    def progress(status, remaining, total):
        if status not in (0, 101) and time.monotonic() > deadline:
            raise sqlite3.OperationalError("database is locked")
    return progress

def databases():
    for folder, directories, files in os.walk(data):
        if folder == data and ".snapshots" in directories:
            directories.remove(".snapshots")
        for file in sorted(files):
            path = os.path.join(folder, file)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue  # a link, or not for us
            with open(descriptor, "rb") as stream:
                if stream.read(16) == b"SQLite format 3\0":
                    yield path

found = list(databases())
if not found:
    print(json.dumps({"copies": []}))
    sys.exit()
os.umask(0o077)
os.makedirs(top, exist_ok=True)
for left in os.listdir(top):
    if left.startswith(".new-"):
        shutil.rmtree(os.path.join(top, left))
disk = os.statvfs(top)
free, wanted = disk.f_bavail * disk.f_frsize, sum(map(os.path.getsize, found)) + ROOM
if free < wanted:
    print(json.dumps({"free": free, "wanted": wanted}))
    sys.exit()
final, number = os.path.join(top, name), 1
while os.path.lexists(final):
    number += 1
    final = os.path.join(top, "%s-%d" % (name, number))
temporary = os.path.join(top, ".new-" + os.path.basename(final))
copies = []
for path in found:
    relative = os.path.relpath(path, data)
    target = os.path.join(temporary, relative)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # In one step: a copy in many would start over at each write of others.
    uri = "file:" + urllib.parse.quote(path) + "?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE)) as source, \
            contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy, progress=patiently())
    copies.append(os.path.join(final, relative))
os.rename(temporary, final)
every = sorted((os.path.join(top, each) for each in os.listdir(top)), key=os.path.getmtime)
# The first copy of this release is of data that its hooks had not touched yet: copies of later tries go before it.
stay = (os.path.join(top, name), final)
tries = [path for path in every if re.fullmatch(re.escape(name) + r"-\d+", os.path.basename(path))]
others = [path for path in every if path not in tries]
for old in [path for path in tries + others if path not in stay][:max(0, len(every) - keep)]:
    shutil.rmtree(old)
print(json.dumps({"copies": copies}))
"""


def take(site: Layout, user: str, release_id: str, keep: int = KEEP) -> list[str]:
    """Copy every SQLite database below ``shared/data``; the paths of the copies.

    :raises StepError: if one cannot be copied: whoever changes data wants a way back
    """
    data = site.shared / "data"
    if not data.is_dir():
        return []
    command = [str(PYTHON), "-I", "-c", SCRIPT, str(data), release_id, str(keep)]
    surroundings = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    try:
        done = run_as(user, command, cwd=Path("/"), environment=surroundings, timeout=TIMEOUT, limit=16 << 20)
    except subprocess.TimeoutExpired:
        raise StepError(f"{site.name}: the SQLite files in {data} were not copied within {TIMEOUT} s") from None
    if done.returncode != 0:
        last = visible((done.stderr.strip().splitlines() or ["no words"])[-1][:1000])
        raise StepError(
            f"{site.name}: the SQLite files in {data} could not be copied to {data}/.snapshots before the hooks run: "
            f"{last}. No hook ran"
        )
    answer = json.loads(done.stdout)
    if "free" in answer:
        missing = answer["wanted"] - answer["free"]
        raise StepError(
            f"{site.name}: there is no room for copies of its SQLite files in {data}/.snapshots: "
            f"{answer['free'] >> 20} MB are free and {answer['wanted'] >> 20} MB are needed, so "
            f"{(missing >> 20) + 1} MB are missing. Free some space, then run again. No hook ran"
        )
    return answer["copies"]
