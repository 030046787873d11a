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

# What is passed on to a command that runs on a pseudo-terminal of its own, or is an event for the relay.
RELAYED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
EVENTS = (*RELAYED, signal.SIGCHLD, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT, signal.SIGHUP)
CHUNK = 1 << 16
# What the kernel may still hold of a terminal's output is far less; a command that goes on writing is not waited for.
REST = 1 << 20
# Seconds between two checks whether the keyboard is ours, and for a terminal's last answers.
CHECK, GRACE = 0.2, 1.0
# Asks a terminal for a sign of life ("ESC [ 0 n"), after ending any sequence that was begun, and after switching off
# what makes a terminal type by itself: mouse, focus, bracketed paste.
SIGN_OF_LIFE = b"\x18\x1b\\\x1b[?1000;1001;1002;1003;1004;1005;1006;1015;1016;2004l\x1b[5n"
ALIVE = b"\x1b[0n"
# What a question to a terminal begins with: ENQ, ESC, and in 8 bits (or UTF-8) DCS, CSI, OSC.
ASKING = (b"\x05", b"\x1b", b"\x90", b"\x9b", b"\x9d")


class Relay:
    """What stays root between root's terminal and a command of the site's, which has a pseudo-terminal of its own.

    Of what root's shell has given us, each descriptor that is a terminal is the command's own pseudo-terminal instead;
    pipes and files it gets as they are. It is in a session of its own: root's terminal it can neither open nor hold,
    and what it leaves behind reads none of the later keystrokes.
    """

    def __init__(self, uid: int, site: str) -> None:
        self.site = site
        while (filler := os.open(os.devnull, os.O_RDWR)) < FIRST_FD:  # nothing of ours is to lie on a standard number
            pass
        os.close(filler)
        self.ours = [number for number in range(FIRST_FD) if os.isatty(number)]
        self.keyboard = reopened(0) if 0 in self.ours else None
        self.screen = next((number for number in (1, 2, 0) if number in self.ours), None)
        # In `… | less` the keyboard is the pager's.
        self.shared = stat.S_ISFIFO(os.fstat(1).st_mode) or stat.S_ISSOCK(os.fstat(1).st_mode)
        self.master = self.slave = None
        self.saved: list | None = None
        self.typed = b""
        self.asked = self.gone = False
        self.pid = 0
        if self.screen is not None:
            self.open(self.screen, uid)

    def open(self, screen: int, uid: int) -> None:
        """Make a pseudo-terminal like root's own."""
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
        """Tell how large root's window is."""
        if self.master is not None:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self.screen, termios.TIOCGWINSZ, bytes(8))
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def run(self, start: Callable[[], NoReturn]) -> int:
        """Start the command and relay until it has ended; what `os.wait` says of it."""
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
            # Without a keyboard it is nobody's controlling one: who opens /dev/tty to ask would wait for ever.
            if self.keyboard is not None:
                fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for number in self.ours:
                os.dup2(self.slave, number)
        os.closerange(FIRST_FD, os.sysconf("SC_OPEN_MAX"))
        start()

    def ended(self) -> bool:
        """Whether the command has; it is not reaped yet, so that its number is nobody else's."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def turn(self) -> None:
        """Wait until there is something to do, and do it."""
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
        """Whether what is typed now is for the command; root's terminal hands it over key by key then."""
        if self.keyboard is None:
            return False
        if not in_front(self.keyboard):
            return False
        try:
            if self.shared:  # line by line, and not while a pager reads keys
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
        """Take what was typed."""
        try:
            keys = os.read(self.keyboard, CHUNK)
        except BlockingIOError:  # a pager was quicker
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
        """Pass on what the command has written; how much it was."""
        try:
            piece = os.read(self.master, CHUNK)
        except OSError:  # nothing more for now, or hung up
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
        """Pass on what was sent to us."""
        if sign == signal.SIGWINCH:
            self.resize()
        elif sign == signal.SIGHUP:
            self.gone = True
        elif sign == signal.SIGCONT and self.saved:  # when we were stopped, root's shell has set its own modes
            if not in_front(self.keyboard):
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
        """Send a signal to what a terminal would send it to; SIGTERM and the like to the command alone."""
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
        """End all that belongs to the session, show the last words, hang up."""
        if self.gone:
            os.kill(self.pid, signal.SIGHUP)  # not reaped yet: it is still that process
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
        """Let the terminal's answers to what the command has asked it come, and drop them.

        They would come as if they had been typed, and root's shell would read them. A terminal answers in order.
        """
        if os.environ.get("TERM", "dumb") in ("", "dumb"):
            return
        try:
            others = not self.saved and not termios.tcgetattr(self.screen)[3] & termios.ICANON  # a pager's
            if others or not in_front(self.screen):
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
        """Give root's terminal back as it was, without what nobody has read."""
        where = self.keyboard if self.keyboard is not None else self.screen
        if self.saved and in_front(where):
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(where, termios.TCSAFLUSH, self.saved)
        self.saved = None


def reopened(terminal: int) -> int:
    """A terminal under a descriptor that does not block; the one that root's shell has goes on doing so."""
    try:
        return os.open(f"/proc/self/fd/{terminal}", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return terminal


def in_front(terminal: int) -> bool:
    """Whether we are what a terminal's keys are for, and not in the background; one without job control is ours."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True
