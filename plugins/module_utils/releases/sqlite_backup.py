"""Snapshots of a site's SQLite databases, taken before its hooks can change them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.host_python import PYTHON
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.privileges import run_as
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

KEEP = 3
TIMEOUT = 600
# Maximum number of left-out files in messages, since the site may have created many.
MOST_WORDS = 10
LONGEST_WORD = 300
WAY_OUT = "To deploy without copies: -e snapshots=no"

# Runs as the site's user, which can access only the site's own files wherever a link leads, with the system's Python
# and without the site's packages. The files may be hostile, so everything is bounded and the output is only data.
SCRIPT = r"""
import contextlib, json, os, re, resource, sqlite3, stat, subprocess, sys, time, urllib.parse

data, name, keep = sys.argv[1], sys.argv[2], int(sys.argv[3])
top = os.path.join(data, ".snapshots")
ROOM = 16 << 20
PATIENCE = 30
DEEPEST = 64
MOST = 1_000_000
# A copy has what a database says that it holds, its holes too: a file of holes alone would fill the disk.
TIMES, SLACK = 8, 1 << 20
left_out = []

def patiently():
    # backup() waits for a lock for ever unless this raises.
    deadline = time.monotonic() + PATIENCE
    def progress(status, remaining, total):
        if status not in (0, 101) and time.monotonic() > deadline:
            raise sqlite3.OperationalError("database is locked")
    return progress

def files():
    # No recursion: folders may lie in each other by the thousand.
    todo, seen = [(data, 0)], 0
    while todo:
        folder, depth = todo.pop()
        try:
            entries = os.scandir(folder)
        except OSError:
            continue  # not for us, or gone
        with entries:
            for entry in entries:
                seen += 1
                if seen > MOST:
                    left_out.append("all but the first %d files" % MOST)
                    return
                if entry.is_dir(follow_symlinks=False):
                    if entry.path == top:
                        continue
                    if depth < DEEPEST:
                        todo.append((entry.path, depth + 1))
                    else:
                        left_out.append("%s, %d folders deep" % (entry.path, depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path

def allocated(info):
    return info.st_blocks * 512

def beside(path):
    try:
        return allocated(os.lstat(path + "-wal"))
    except OSError:
        return 0

def databases():
    # (path, bytes that it holds, bytes that its copy may have at the most)
    for path in files():
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # a link, or not for us
        with open(descriptor, "rb") as stream:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                continue
            head = stream.read(100)
            if head[:16] != b"SQLite format 3\0":
                continue
            number = lambda at, size=4: int.from_bytes(head[at:at + size], "big")
            page = 65536 if number(16, 2) == 1 else number(16, 2)
            counted = number(28) and number(24) == number(92)
            says = page * number(28) if counted else info.st_size
            most = TIMES * (allocated(info) + beside(path)) + SLACK
            if says > most:
                os.fsync(descriptor)  # some file systems count what was written just now only then
                info = os.fstat(descriptor)
                most = TIMES * (allocated(info) + beside(path)) + SLACK
            if says > most:
                left_out.append("%s, which says it has %d MB and has %d" % (path, says >> 20, allocated(info) >> 20))
            else:
                yield path, allocated(info) + beside(path), most

def remove(path):
    # rm goes by descriptors: of any depth, and past no link.
    done = subprocess.run(["/bin/rm", "-rf", "--", path], env={"LC_ALL": "C"}, stderr=subprocess.DEVNULL)
    if done.returncode:
        left_out.append("the removal of %s, which has to be done by hand" % path)

def answer(**words):
    print(json.dumps({"copies": [], "left_out": left_out, **words}))
    sys.exit()

def copied(path, target, most):
    # In one step: a copy in many would start over at each write of others.
    uri = "file:" + urllib.parse.quote(path) + "?mode=rw"
    before = soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min([most, *(each for each in before if each >= 0)]), hard))
    try:
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy, progress=patiently())
        return True
    except sqlite3.Error as error:
        full = os.path.exists(target) and os.path.getsize(target) >= most - 65536
        if full or getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            left_out.append("%s, which is no database (%s)" % (path, error))
            with contextlib.suppress(OSError):
                os.unlink(target)
            return False
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

found = sorted(databases())
if not found:
    answer()
os.umask(0o077)
os.makedirs(top, exist_ok=True)
for left in os.listdir(top):
    if left.startswith(".new-"):
        remove(os.path.join(top, left))
disk = os.statvfs(top)
free, wanted = disk.f_bavail * disk.f_frsize, sum(held for path, held, most in found) + ROOM
if free < wanted:
    answer(free=free, wanted=wanted)
final, number = os.path.join(top, name), 1
while os.path.lexists(final):
    number += 1
    final = os.path.join(top, "%s-%d" % (name, number))
temporary = os.path.join(top, ".new-" + os.path.basename(final))
copies = []
try:
    for path, held, most in found:
        relative = os.path.relpath(path, data)
        target = os.path.join(temporary, relative)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if copied(path, target, most):
            copies.append(os.path.join(final, relative))
except BaseException:
    remove(temporary)
    raise
if not copies:
    remove(temporary)
    answer()
os.rename(temporary, final)
every = sorted((os.path.join(top, each) for each in os.listdir(top)), key=os.path.getmtime)
# The first copy of this release is of data that its hooks had not touched yet: copies of later tries go before it.
stay = (os.path.join(top, name), final)
tries = [path for path in every if re.fullmatch(re.escape(name) + r"-\d+", os.path.basename(path))]
others = [path for path in every if path not in tries]
for old in [path for path in tries + others if path not in stay][:max(0, len(every) - keep)]:
    remove(old)
answer(copies=copies)
"""


@dataclass(frozen=True)
class Taken:
    """The paths of the copies, and the left-out files with reasons."""

    copies: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def take(site: Layout, user: str, release_id: str, keep: int = KEEP) -> Taken:
    """Copy every SQLite database below ``shared/data``.

    :raises StepError: if one cannot be copied, since hooks must not run without a way back
    """
    data = site.shared / "data"
    if not data.is_dir():
        return Taken()
    command = [str(PYTHON), "-I", "-c", SCRIPT, str(data), release_id, str(keep)]
    surroundings = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    try:
        done = run_as(
            user,
            command,
            cwd=Path("/"),
            environment=surroundings,
            timeout=TIMEOUT,
            site=site.name,
            limit=16 << 20,
        )
    except subprocess.TimeoutExpired:
        raise StepError(
            f"{site.name}: the SQLite files in {data} were not copied within {TIMEOUT} s. No hook ran. {WAY_OUT}"
        ) from None
    if done.returncode != 0:
        last = visible((done.stderr.strip().splitlines() or ["no words"])[-1][:LONGEST_WORD])
        raise StepError(
            f"{site.name}: the SQLite files in {data} could not be copied to {data}/.snapshots before the hooks run: "
            f"{last}. No hook ran. {WAY_OUT}"
        )
    free, wanted, taken = _read(site, done.stdout)
    if wanted:
        raise StepError(
            f"{site.name}: there is no room for copies of its SQLite files in {data}/.snapshots: "
            f"{free >> 20} MB are free and {wanted >> 20} MB are needed, so {((wanted - free) >> 20) + 1} MB are "
            f"missing. Free some space, then run again. No hook ran. {WAY_OUT}"
        )
    return taken


def _read(site: Layout, text: str) -> tuple[int, int, Taken]:
    """Parse the script's output: free and wanted bytes if the space is too small, and the copies.

    It is validated strictly, since another process of the site's user may have written it.
    """
    try:
        found = json.loads(text)
        free, wanted = found.get("free", 0), found.get("wanted", 0)
        lists = found["copies"], found["left_out"]
        if not all(isinstance(one, list) and all(isinstance(each, str) for each in one) for one in lists):
            raise TypeError
        if not all(isinstance(one, int) and 0 <= one < 1 << 63 for one in (free, wanted)):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise StepError(
            f"{site.name}: the copying of its SQLite files returned invalid output; a process of the site may have "
            f"interfered. No hook ran. {WAY_OUT}"
        ) from None
    return free, wanted, Taken(_few(lists[0]), _few(lists[1]))


def _few(words: list[str]) -> list[str]:
    cut = [each if len(each) <= LONGEST_WORD else each[:LONGEST_WORD] + "…" for each in words]
    more = [f"and {len(words) - MOST_WORDS} more"] if len(words) > MOST_WORDS else []
    return cut[:MOST_WORDS] + more
