"""The relay between root's terminal and a command of the site's, which has a pseudo-terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import stat
import termios
import time
import tty
from collections.abc import Callable
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.launcher import session
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.listeners import FIRST_FD

# Signals that are forwarded to the command, or are events for the relay.
RELAYED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
EVENTS = (*RELAYED, signal.SIGCHLD, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT, signal.SIGHUP)
CHUNK = 1 << 16
# More than the kernel buffers of a terminal's output; a command that keeps writing is not waited for.
REST = 1 << 20
# Seconds between two checks for the foreground, and the timeout for a terminal's last answers.
CHECK, GRACE = 0.2, 1.0
# Requests a status report ("ESC [ 0 n"), after ending any unfinished sequence and switching off the modes in which a
# terminal sends input by itself: mouse, focus, bracketed paste.
SIGN_OF_LIFE = b"\x18\x1b\\\x1b[?1000;1001;1002;1003;1004;1005;1006;1015;1016;2004l\x1b[5n"
ALIVE = b"\x1b[0n"
# The first characters of terminal queries: ENQ, ESC, and in 8 bits (or UTF-8) DCS, CSI, OSC.
ASKING = (b"\x05", b"\x1b", b"\x90", b"\x9b", b"\x9d")


class Relay:
    """Relays between root's terminal and a command of the site, and stays root.

    Each standard descriptor that is a terminal is replaced by the command's own pseudo-terminal; pipes and files are
    inherited. The command has its own session, so it can neither open nor keep root's terminal, and its leftovers read
    none of the later keystrokes.
    """

    def __init__(self, uid: int, site: str) -> None:
        self.site = site
        while (filler := os.open(os.devnull, os.O_RDWR)) < FIRST_FD:  # keep the standard numbers free
            pass
        os.close(filler)
        self.ours = [number for number in range(FIRST_FD) if os.isatty(number)]
        self.keyboard = reopened(0) if 0 in self.ours else None
        self.screen = next((number for number in (1, 2, 0) if number in self.ours), None)
        # In `… | less` the pager reads the keyboard.
        self.shared = stat.S_ISFIFO(os.fstat(1).st_mode) or stat.S_ISSOCK(os.fstat(1).st_mode)
        self.master = self.slave = None
        self.saved: list | None = None
        self.typed = b""
        self.asked = self.gone = False
        self.pid = 0
        if self.screen is not None:
            self.open(self.screen, uid)

    def open(self, screen: int, uid: int) -> None:
        """Open a pseudo-terminal with the modes and size of root's."""
        self.master, self.slave = os.openpty()
        attributes = termios.tcgetattr(screen)
        if self.keyboard is None or self.shared:  # then root's own goes on with these two
            attributes[1] &= ~termios.OPOST
            attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self.slave, termios.TCSANOW, attributes)
        os.fchown(self.slave, uid, -1)
        os.fchmod(self.slave, 0o600)
        os.set_blocking(self.master, False)
        self.resize()

    def resize(self) -> None:
        """Copy the size of root's window."""
        if self.master is not None:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self.screen, termios.TIOCGWINSZ, bytes(8))
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def run(self, start: Callable[[], NoReturn]) -> int:
        """Start the command and relay until it has ended; returns its wait status."""
        self.events, wakeup = os.pipe()
        for end in (self.events, wakeup):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for sign in EVENTS:
            if signal.getsignal(sign) != signal.SIG_IGN:
                signal.signal(sign, lambda *_: None)
        self.pid = os.fork()
        if self.pid == 0:
            self.become(start)
        try:
            while not self.gone and not self.ended():
                self.turn()
            return self.finish()
        finally:
            self.restore()

    def become(self, start: Callable[[], NoReturn]) -> NoReturn:
        """The command's side."""
        signal.set_wakeup_fd(-1)
        os.setsid()
        if self.slave is not None:
            # Without a keyboard it is not made the controlling terminal: a prompt on /dev/tty would wait for ever.
            if self.keyboard is not None:
                fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for number in self.ours:
                os.dup2(self.slave, number)
        os.closerange(FIRST_FD, os.sysconf("SC_OPEN_MAX"))
        start()

    def ended(self) -> bool:
        """Whether the command has ended; it is not reaped yet, so that its PID is not reused."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def turn(self) -> None:
        """Wait for one event and handle it."""
        poll = select.poll()
        poll.register(self.events, select.POLLIN)
        if self.master is not None:
            poll.register(self.master, select.POLLIN | (select.POLLOUT if self.typed else 0))
        listens = self.has_keyboard()
        if listens and len(self.typed) < CHUNK:
            poll.register(self.keyboard, select.POLLIN)
        patience = None if self.keyboard is None or self.saved else CHECK * 1000
        ready = dict(poll.poll(patience))
        if self.events in ready:
            for number in os.read(self.events, CHUNK):
                self.signalled(signal.Signals(number))
        if ready.get(self.master, 0) & ~select.POLLOUT:
            self.show()
        if self.keyboard in ready and self.has_keyboard():
            self.type()
        if self.typed and ready.get(self.master, 0) & select.POLLOUT:
            with contextlib.suppress(BlockingIOError):
                self.typed = self.typed[os.write(self.master, self.typed) :]

    def has_keyboard(self) -> bool:
        """Whether input is for the command; root's terminal is then in raw mode."""
        if self.keyboard is None:
            return False
        if not is_foreground(self.keyboard):
            return False
        try:
            if self.shared:  # line mode, and not while a pager reads keys
                return bool(termios.tcgetattr(self.keyboard)[3] & termios.ICANON)
            if not self.saved:
                self.saved = termios.tcgetattr(self.keyboard)
                self.make_raw()
        except termios.error:
            self.gone = True
        return not self.gone

    def make_raw(self) -> None:
        """Have root's terminal pass on every key; a terminal that has hung up ends the command."""
        try:
            tty.setraw(self.keyboard, termios.TCSADRAIN)
        except termios.error:
            self.gone = True

    def type(self) -> None:
        """Read the input and forward it."""
        try:
            keys = os.read(self.keyboard, CHUNK)
        except BlockingIOError:  # a pager has read them
            return
        except OSError:
            keys = b""
            self.gone = True
        if not keys and self.shared:
            keys = termios.tcgetattr(self.master)[6][termios.VEOF]
        elif not keys:
            self.gone = True
        self.typed += keys

    def show(self) -> int:
        """Forward the command's output; returns the number of bytes."""
        try:
            piece = os.read(self.master, CHUNK)
        except OSError:  # no more output now, or the terminal is closed
            return 0
        self.asked = self.asked or any(sign in piece for sign in ASKING)
        try:
            self.write(piece)
        except OSError:
            self.gone = True
        return len(piece)

    def write(self, piece: bytes) -> None:
        """Write to root's terminal."""
        while piece:
            try:
                piece = piece[os.write(self.screen, piece) :]
            except BlockingIOError:
                select.select([], [self.screen], [])

    def signalled(self, sign: signal.Signals) -> None:
        """Forward a signal that we received."""
        if sign == signal.SIGWINCH:
            self.resize()
        elif sign == signal.SIGHUP:
            self.gone = True
        elif sign == signal.SIGCONT and self.saved:  # while we were stopped, root's shell has set its own modes
            if not is_foreground(self.keyboard):
                self.saved = None
            else:
                self.make_raw()
        elif sign == signal.SIGTSTP:
            self.send(signal.SIGSTOP)
            self.restore()
            os.kill(os.getpid(), signal.SIGSTOP)
            self.send(signal.SIGCONT)
        elif sign in RELAYED:
            self.send(sign)

    def send(self, sign: int) -> None:
        """Send a signal as a terminal would, to the foreground group; SIGTERM and similar ones only to the command."""
        group = self.pid
        if self.master is not None:
            with contextlib.suppress(OSError):
                group = os.tcgetpgrp(self.master) or self.pid
        try:
            if sign in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(self.pid, sign)
            else:
                os.killpg(group, sign)
        except ProcessLookupError:  # it has no group of its own yet
            os.kill(self.pid, sign)

    def finish(self) -> int:
        """End the whole session, relay the remaining output, and close the pseudo-terminal."""
        if self.gone:
            os.kill(self.pid, signal.SIGHUP)  # not reaped yet, so the PID is not reused
        if self.gone or self.master is not None:
            session.end(self.pid, meanwhile=self.show if self.master is not None and not self.gone else None)
            session.end_group(self.site, f"run.{self.pid}")
        if self.master is not None:
            rest = REST
            while rest > 0 and not self.gone and (shown := self.show()):
                rest -= shown
            os.close(self.master)
            os.close(self.slave)
            if self.asked and not self.gone:
                self.await_answers()
        return os.waitpid(self.pid, 0)[1]

    def await_answers(self) -> None:
        """Wait for the terminal's answers to queries of the command, and discard them.

        They arrive as input, and root's shell would read them. A terminal answers in order.
        """
        if os.environ.get("TERM", "dumb") in ("", "dumb"):
            return
        try:
            others = not self.saved and not termios.tcgetattr(self.screen)[3] & termios.ICANON  # set by a pager
            if others or not is_foreground(self.screen):
                return
            self.saved = self.saved or termios.tcgetattr(self.screen)
            tty.setraw(self.screen, termios.TCSADRAIN)
            self.write(SIGN_OF_LIFE)
            heard, deadline = b"", time.monotonic() + GRACE
            while ALIVE not in heard and (rest := deadline - time.monotonic()) > 0:
                if select.select([self.screen], [], [], rest)[0]:
                    heard = heard[-len(ALIVE) :] + (os.read(self.screen, CHUNK) or ALIVE)
        except (OSError, termios.error):
            return

    def restore(self) -> None:
        """Restore root's terminal modes, and discard unread input."""
        where = self.keyboard if self.keyboard is not None else self.screen
        if self.saved and is_foreground(where):
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(where, termios.TCSAFLUSH, self.saved)
        self.saved = None


def reopened(terminal: int) -> int:
    """Reopen a terminal as a non-blocking descriptor; the one that root's shell uses stays blocking."""
    try:
        return os.open(f"/proc/self/fd/{terminal}", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return terminal


def is_foreground(terminal: int) -> bool:
    """Whether we are in the terminal's foreground; true without job control."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True
