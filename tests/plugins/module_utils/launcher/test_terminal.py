"""Commands of SITE-ctl are isolated from root's terminal and still work interactively."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Host, eventually

from ansible_collections.wsgi.sites.plugins.module_utils.system import process

# Root's shell: it runs a command and reads input afterwards; "ready" means that the terminal is restored.
SHELL = """
trap : INT
stty -g > "$MODES.before"
{command}
echo "ended $?"
stty -g > "$MODES.after"
IFS= read -r line
echo "root read <$line>"
"""
# Leaves a background process that records everything it can read from a terminal.
LISTENER = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork() == 0:
    if sys.argv[2:] == ["session"]:
        os.setsid()
    else:
        os.setpgid(0, 0)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    open(sys.argv[1], "w").write("here\\n")
    for number in (0, 1, 2):
        if os.fork() == 0:
            while True:
                try:
                    if keys := os.read(number, 100):
                        open(sys.argv[1], "ab").write(keys)
                except OSError:
                    time.sleep(0.01)
    os._exit(0)
while not (os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1])):
    pass
"""


class Terminal:
    """Root's terminal with a shell; the test is its user."""

    def __init__(self, command: str, modes: Path, **environment: str) -> None:
        self.modes, self.seen = modes, ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            for sign in (signal.SIGINT, signal.SIGQUIT):  # ignored if the tests run in the background
                signal.signal(sign, signal.SIG_DFL)
            more = {"MODES": str(modes), "TERM": "xterm", **environment}
            os.execve("/bin/bash", ["bash", "-c", SHELL.format(command=command)], {**os.environ, **more})

    def until(self, pattern: str, patience: float = 30) -> re.Match[str]:
        """Wait until this appears."""
        deadline = time.monotonic() + patience
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            assert time.monotonic() < deadline, f"{pattern!r} never came: {self.seen[-2000:]!r}\n{self.processes()}"
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"the end, without {pattern!r}: {self.seen[-2000:]!r}") from None
        self.seen = self.seen[found.end() :]
        return found

    def processes(self) -> str:
        """The processes on the terminal and their signal handling, for the message of a failed test."""
        told = subprocess.run(["ps", "-eo", "pid,ppid,pgid,sid,tpgid,stat,ignored,blocked,pending,caught,args"],
                              capture_output=True, text=True).stdout  # fmt: skip
        return "\n".join(line for line in told.splitlines() if re.search("launcher|sleep|pager|COMMAND", line))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def ends(self, code: int = 0) -> None:
        """Wait until the command has ended and root's shell reads the input again."""
        assert self.until(r"ended (\d+)\r\n")[1] == str(code)
        eventually(lambda: Path(f"{self.modes}.after").stat().st_size)
        assert Path(f"{self.modes}.after").read_text() == Path(f"{self.modes}.before").read_text()
        self.type("a password of roots\n")
        self.until("root read <a password of roots>")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.master)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def live(bare_host: Host) -> Host:
    """A host with a live release."""
    bare_host.release("r1")
    bare_host.site.slot("blue").mkdir()
    (bare_host.site.slot("blue") / "release").symlink_to("../../releases/r1")
    bare_host.site.live.symlink_to("slots/blue")
    (bare_host.folder / "drop").mkdir()
    (bare_host.folder / "drop").chmod(0o777)
    return bare_host


def of_the_test(host: Host) -> list[int]:
    """The processes that run a script of the test."""
    script = f"python3\0{host.folder}/drop/"
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and process.command(int(pid)).startswith(script)]


@pytest.fixture
def open_terminal(live: Host, tmp_path: Path) -> Iterator:
    """Open a terminal that runs a command of the site; `RUN` in it is the launcher."""
    made = []

    def start(command: str, **environment: str) -> Terminal:
        run = f"{live.by_hand} {live.site.root} run --"
        made.append(Terminal(command.replace("RUN", run), tmp_path / f"modes{len(made)}", **environment))
        return made[-1]

    yield start
    for terminal in made:
        terminal.close()
    for pid in of_the_test(live):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("how", "rest"),
    [("group", ""), ("group", "< /dev/null"), ("group", "| cat"), ("session", ""), ("session", "< /dev/null 2>&1")],
)
def test_background_processes_cannot_read_later_keystrokes(open_terminal, live: Host, how: str, rest: str) -> None:
    heard, script = live.folder / "drop/heard", live.folder / "drop/listener.py"
    script.write_text(LISTENER)
    left = "" if how == "group" else how
    terminal = open_terminal(f"RUN python3 {script} {heard} {left} {rest}")
    terminal.ends()
    assert heard.read_text() == "here\n"
    # A process in a session of its own continues without a terminal.
    assert how == "session" or not of_the_test(live)


def test_the_command_has_a_terminal_like_that_of_root(open_terminal) -> None:
    terminal = open_terminal(
        """RUN sh -c 'tty; read -r line; echo "<$line>"; until stty size | grep "31 97"; do :; done; exit 3'"""
    )
    size = struct.pack("HHHH", 31, 97, 0, 0)
    theirs = terminal.until(r"(/dev/pts/\d+)\r\n")[1]
    assert theirs != os.readlink(f"/proc/{terminal.pid}/fd/0")
    terminal.type("wörds\n")
    terminal.until("<wörds>")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, size)
    terminal.until("31 97")
    terminal.ends(3)


def test_control_keys_work(open_terminal) -> None:
    terminal = open_terminal("RUN python3 -c 'print(\"waits\"); import time; time.sleep(600)'")
    terminal.until("waits")
    terminal.type("\x03")
    terminal.until("KeyboardInterrupt")
    terminal.ends(130)
    terminal = open_terminal("RUN sh -c 'echo waits; cat; echo end of file'")
    terminal.until("waits")
    terminal.type("some\n\x04")
    terminal.until("end of file")
    terminal.ends()


def test_a_shell_has_job_control_and_reports_its_exit(open_terminal) -> None:
    terminal = open_terminal("RUN bash --norc -i")
    terminal.until(r"\$ ")
    terminal.type("python3 -c 'print(6 * 7, flush=True); input()'\n")
    terminal.until("\r\n.*42\r\n")
    terminal.type("\x1a")
    terminal.until("Stopped")
    terminal.type("exit 4\n")
    terminal.until("stopped jobs")
    terminal.type("exit 4\n")
    # The command's last output resets the terminal's modes; only the answer to its last query is pending.
    terminal.until(r"\x1b\[5n")
    terminal.type("\x1b[0n")
    terminal.ends(4)


@pytest.mark.parametrize("where", ["", "< /dev/null"])
def test_a_late_answer_of_the_terminal_does_not_reach_the_shell_of_root(open_terminal, where: str) -> None:
    # Requests the window title, which it can set to any text, and ends before the answer.
    terminal = open_terminal(f"""RUN printf '\\033]2;rm -rf /\\007\\033[21t' {where}""")
    terminal.until(r"\x1b\[21t")
    terminal.until(r"\x1b\[5n")
    terminal.type("\x1b]lrm -rf /\n\x1b\\")
    terminal.type("\x1b[0n")
    terminal.ends()


def test_pipes_and_files_are_passed_through_without_loss(open_terminal, live: Host) -> None:
    (live.folder / "drop/in").write_bytes(b"0123456789abcdef" * 200_000)
    terminal = open_terminal(
        f"RUN sh -c 'cat; echo words >&2; exit 3' < {live.folder}/drop/in | sha256sum; (exit ${{PIPESTATUS[0]}})"
    )
    terminal.until("words")
    terminal.until("[0-9a-f]{64}")
    terminal.ends(3)
    terminal = open_terminal(f"RUN sh -c '! true < /dev/tty' < /dev/null > {live.folder}/drop/out 2>&1")
    terminal.ends()
    terminal = open_terminal("RUN sh -c 'head -c 1000000 /dev/zero | tr \"\\0\" x; exit 5' < /dev/null")
    assert terminal.until("ended 5").string.count("x") == 1_000_000


def test_a_pager_behind_the_command_has_the_keyboard(open_terminal, live: Host) -> None:
    pager = live.folder / "drop/pager.py"
    pager.write_text(
        "import os, sys, tty, termios\nkeys = os.open('/dev/tty', os.O_RDWR)\nbefore = termios.tcgetattr(keys)\n"
        "tty.setraw(keys)\nprint('page', sys.stdin.readline(), flush=True)\n"
        "heard = b''\nwhile len(heard) < 3:\n    heard += os.read(keys, 1)\n"
        "termios.tcsetattr(keys, termios.TCSADRAIN, before)\nprint('heard', heard)\n"
    )
    terminal = open_terminal(f"RUN sh -c 'echo one; exec sleep 600' | python3 {pager}; true")
    terminal.until("page one")
    terminal.type("abc")
    terminal.until("heard b'abc'")
    terminal.type("\x03")
    terminal.ends()
    terminal = open_terminal("RUN sh -c 'read -r line; echo \"<$line>\"' | cat")
    terminal.type("typed\n")
    terminal.until("<typed>")
    terminal.ends()


def test_the_command_ends_with_the_terminal_and_by_a_signal(open_terminal, live: Host) -> None:
    note = live.folder / "drop/pid"
    terminal = open_terminal(f"RUN sh -c 'trap \"\" HUP; echo $$ > {note}; while :; do sleep 600; done'")
    eventually(lambda: note.exists() and note.read_text())
    pid = int(note.read_text())
    os.close(terminal.master)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    terminal.master = os.open(os.devnull, os.O_RDONLY)
    note.unlink()
    terminal = open_terminal(f"RUN sh -c 'echo $$ > {note}; kill -SEGV $$'")
    terminal.ends(128 + signal.SIGSEGV)


def test_a_background_command_does_not_take_the_terminal(open_terminal) -> None:
    terminal = open_terminal("set -m; RUN sh -c 'echo from behind; exit 6' & wait $!")
    terminal.until("from behind")
    terminal.ends(6)
