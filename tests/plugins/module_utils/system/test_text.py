"""Output of a site: plain text on terminals, and bounded memory for root."""

from __future__ import annotations

import getpass
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.wsgi.sites.plugins.module_utils.inspection import socket_holders
from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host
from ansible_collections.wsgi.sites.plugins.module_utils.releases import uv
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.privileges import run_as
from ansible_collections.wsgi.sites.plugins.module_utils.site import logs, remote_upstream
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import TAIL, visible, visible_all

# Output of a site that would exhaust a process of root that reads all of it.
HUGE = """
import os, sys
try:
    os.ftruncate(1, 3 << 30)
except OSError:
    pass
for _ in range(128):
    print("x" * (1 << 20))
print("the end", flush=True)
sys.exit(4)
"""
HOSTILE = "\x1b]2;title\x07 \x9b5n \x7f \u202e \u2066 \u2028 \ud800 \r"
HARMLESS = "\\x1b]2;title\\x07 \\x9b5n \\x7f \\u202e \\u2066 \\u2028 \\ud800 \\x0d"


def test_control_characters_are_made_visible() -> None:
    assert visible(HOSTILE) == HARMLESS
    assert visible("plain\ttext\r\nof ümläuts, 茶 and 🙂\n") == "plain\ttext\nof ümläuts, 茶 and 🙂\n"
    assert visible_all({"a\x1b": ["\x1b", 1, None, ("\x07",)]}) == {"a\\x1b": ["\\x1b", 1, None, ["\\x07"]]}
    assert uv.last_lines("first\nSomeError: \x1b[2J\n") == "first\nSomeError: \\x1b[2J"
    assert len(uv.last_lines("x" * 10_000_000)) == uv.LINE_LENGTH


def test_only_the_end_of_a_sites_output_is_kept(tmp_path: Path, project: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
        "from ansible_collections.wsgi.sites.plugins.module_utils.runtime.privileges import run_as\n"
        "done = run_as(sys.argv[1], ['/usr/bin/python3', '-c', sys.argv[2]], cwd=Path('/'), environment={})\n"
        "print(done.returncode, len(done.stdout), done.stdout[-8:], resource.getrusage(0).ru_maxrss)"
    )
    words = [sys.executable, "-c", code, getpass.getuser(), HUGE, str(project / "collections")]
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # noqa: E731 - the old way took 3 GB
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=limit)
    code, length, *said, most = done.stdout.split()
    assert (code, length, said) == ("4", str(TAIL), ["the", "end"]), done.stderr
    assert int(most) < 200_000


def test_output_of_a_site_goes_to_pipes_only(tmp_path: Path) -> None:
    """A deleted file that is still open takes space: output goes to pipes only."""
    code = "import os, stat; print([stat.S_ISFIFO(os.fstat(n).st_mode) for n in (1, 2)])"
    done = run_as(getpass.getuser(), ["/usr/bin/python3", "-c", code], cwd=tmp_path, environment={})
    assert done.stdout == "[True, True]\n"


def test_both_outputs_are_read_to_the_end(tmp_path: Path) -> None:
    def run(code: str, limit: int = TAIL) -> subprocess.CompletedProcess[str]:
        words = ["/bin/sh", "-c", code]
        return run_as(getpass.getuser(), words, cwd=tmp_path, environment={}, timeout=60, limit=limit)

    done = run("head -c 1000000 /dev/zero | tr '\\0' x; echo out; head -c 1000000 /dev/zero >&2; echo err >&2", 5)
    assert (done.stdout, done.stderr) == ("xout\n", "\0err\n")
    done = run("echo all; exec >&- 2>&-; kill -9 $$")
    assert (done.returncode, done.stdout, done.stderr) == (-9, "all\n", "")


def test_a_process_that_keeps_writing_is_not_waited_for(tmp_path: Path) -> None:
    """For example a process in another session, on a host without control groups."""
    code = (
        "import os\nos.write(1, b'first\\n')\nready, go = os.pipe()\n"
        "if os.fork() == 0:\n os.setsid(); os.write(go, b'x')\n while True: os.write(1, b'more\\n')\n"
        "os.read(ready, 1)\nos.write(2, b'done')"
    )
    words = ["/usr/bin/python3", "-c", code]
    done = run_as(getpass.getuser(), words, cwd=tmp_path, environment={}, timeout=60, limit=1 << 20)
    assert (done.returncode, done.stderr) == (0, "done")
    assert done.stdout.startswith(("first\n", "more\n", "ore\n", "re\n", "e\n", "\n"))


def test_a_command_that_prints_endlessly_is_ended_at_its_timeout(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_as(getpass.getuser(), ["/usr/bin/yes"], cwd=tmp_path, environment={}, timeout=0.5)


def test_files_written_by_a_command_have_no_size_limit(tmp_path: Path) -> None:
    code = "import os; os.ftruncate(os.open('big', os.O_CREAT | os.O_RDWR), 1 << 32)"
    done = run_as(getpass.getuser(), ["/usr/bin/python3", "-c", code], cwd=tmp_path, environment={})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "big").stat().st_size == 1 << 32


def test_a_long_process_title_is_truncated() -> None:
    """A command line of megabytes costs no more than a short one."""
    words = [HOSTILE.replace("\ud800", ""), *(["x" * 100_000] * 12)]
    with subprocess.Popen(
        ["/bin/sh", "-c", "echo; read x", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as it:
        it.stdout.readline()
        try:
            assert len(process.command(it.pid)) <= TAIL
            seen = socket_holders.holder(Host(), f"/proc/{it.pid}")
            assert len(seen.command) < 2 * TAIL and "\\x1b]2;title\\x07" in seen.command and "\x1b" not in seen.command
        finally:
            it.kill()


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("wb") as stream:
        stream.write(b"long ago\n")
        stream.truncate(1 << 40)
        stream.seek(0, os.SEEK_END)
        stream.write(b"\none 7f3c\ntwo \x1b[2J\n")
    began = time.process_time()
    assert logs.last(log, 2) == ["one 7f3c", "two \\x1b[2J"]
    assert logs.last(log, 5, "7f3c") == ["one 7f3c"]
    assert sum(map(len, logs.last(log, 10**9))) < 8 * logs.SHOWN
    assert time.process_time() - began < 10
    (tmp_path / "environment").write_text("")
    assert "two \\x1b[2J" in logs.last_words(log, (log.stat().st_ino, 0), tmp_path / "environment")


def test_the_history_contains_no_control_characters(tmp_path: Path) -> None:
    site = Layout("shop", tmp_path)
    history.append(site, "deploy", "failed", reason=f"it said {HOSTILE}")
    assert "\x1b" not in (tmp_path / "releases.log").read_text()
    (tmp_path / "releases.log").write_text('2026-01-01T00:00:00Z deploy result=ok by="\\u001b[2J"\n')
    assert history.read(site)[0]["by"] == "\\x1b[2J"


@pytest.mark.parametrize("drips", [False, True])
def test_an_answer_of_a_remote_server_is_limited_in_size_and_time(drips: bool) -> None:
    import socket
    import threading

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                try:
                    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if drips else b"\x1b[2J" * 1000 + b"\r\n")
                    while drips and not ended.wait(0.1):
                        peer.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        health = {"path": "/", "status": 200, "body": "well", "host": "shop.example.com"}
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        words = remote_upstream.ask(address, {"ca": "", "name": "", "health": health}, timeout=0.5)
        ended.set()
        thread.join()
    assert words and "\x1b" not in words and len(words) < 1500
