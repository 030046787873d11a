"""Prevent the site's code from pushing keystrokes into root's terminal, which root's shell would execute."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError, say
from ansible_collections.wsgi.sites.plugins.module_utils.system import process

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
# By machine: its AUDIT_ARCH_… for seccomp, and its number of the system call ioctl. All are little-endian.
IOCTL = {"x86_64": (0xC000003E, 16), "aarch64": (0xC00000B7, 29)}
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
LEGACY_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")


def seccomp_filter(audit_arch: int, ioctl: int) -> bytes:
    """A seccomp program, an array of struct sock_filter: TIOCSTI and TIOCLINUX fail with EPERM, all else is allowed."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
    kill, refuse, allow = 0x80000000, 0x00050000 | errno.EPERM, 0x7FFF0000
    # Code, instructions to skip if true, if false, operand. In struct seccomp_data the number of the call is at 0, the
    # machine at 4, and at 24 the lower half of the second argument: the kernel uses only that.
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, audit_arch),
        (give, 0, 0, kill),  # 32-bit calls have other numbers and would bypass the filter
        (load, 0, 0, 0),
        (at_least, 5, 0, 0x40000000),  # so do x32 calls, which count as x86_64
        (equal, 0, 3, ioctl),
        (load, 0, 0, 24),
        (equal, 2, 0, TIOCSTI),
        (equal, 1, 0, TIOCLINUX),
        (give, 0, 0, allow),
        (give, 0, 0, refuse),
    ]
    return b"".join(struct.pack("@HBBI", *instruction) for instruction in program)


def has_terminal() -> bool:
    """Whether there is a controlling terminal, the only one that a process can push keystrokes into."""
    return int(process.fields(os.getpid())[4]) != 0


def forbid_typing() -> None:
    """Forbid this process and its descendants to push keystrokes into the terminal.

    The filter survives exec and applies to all children. It needs no_new_privs.
    """
    reason = install_filter()
    if not reason or not has_terminal():
        return
    try:
        harmless = LEGACY_TIOCSTI.read_text(encoding="ascii").strip() == "0"
    except OSError:  # before Linux 6.2, where it is always allowed
        harmless = False
    if not harmless:
        raise LauncherError(
            f"the site's code could push keystrokes into this terminal ({reason}); set the sysctl "
            "dev.tty.legacy_tiocsti to 0 (Linux 6.2 and later), or start this without a terminal (setsid -w …)"
        )
    say(f"this terminal is protected only by dev.tty.legacy_tiocsti ({reason})")


def install_filter() -> str:
    """Install the seccomp filter; returns why it is not possible, or an empty text."""
    machine = os.uname().machine
    # The filter would kill a 32-bit Python on a 64-bit kernel.
    if machine not in IOCTL or sys.maxsize <= 2**32:
        return f"no seccomp filter for a {machine}"
    instructions = seccomp_filter(*IOCTL[machine])
    program = ctypes.create_string_buffer(instructions)
    # struct sock_fprog: the number of instructions (of 8 bytes), and their address.
    head = ctypes.create_string_buffer(struct.pack("@HP", len(instructions) // 8, ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) == 0:
        return ""
    return f"seccomp: {os.strerror(ctypes.get_errno())}"
