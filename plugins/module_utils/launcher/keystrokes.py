"""Keep the site's code from typing into root's terminal: what it typed there, root's shell would read."""

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
# By machine: its AUDIT_ARCH_…, by which seccomp knows it, and the number of its system call ioctl. All little-endian.
IOCTL = {"x86_64": (0xC000003E, 16), "aarch64": (0xC00000B7, 29)}
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
LEGACY_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")


def seccomp_filter(audit_arch: int, ioctl: int) -> bytes:
    """A seccomp program, an array of struct sock_filter: TIOCSTI and TIOCLINUX fail with EPERM, all else is allowed."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
    kill, refuse, allow = 0x80000000, 0x00050000 | errno.EPERM, 0x7FFF0000
    # Code, how many instructions to skip if true, and if false, operand. In struct seccomp_data the call's number is
    # at 0, the machine at 4, and at 24 the lower half of the second argument: the kernel looks at no more of it.
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, audit_arch),
        (give, 0, 0, kill),  # a 32-bit call has other numbers, and would be a way around
        (load, 0, 0, 0),
        (at_least, 5, 0, 0x40000000),  # so has x32, which counts as x86_64
        (equal, 0, 3, ioctl),
        (load, 0, 0, 24),
        (equal, 2, 0, TIOCSTI),
        (equal, 1, 0, TIOCLINUX),
        (give, 0, 0, allow),
        (give, 0, 0, refuse),
    ]
    return b"".join(struct.pack("@HBBI", *instruction) for instruction in program)


def has_terminal() -> bool:
    """Whether there is a controlling terminal: a process can type into no other, whatever its stdin is."""
    return int(process.fields(os.getpid())[4]) != 0


def forbid_typing() -> None:
    """Let nothing that runs from here on push keystrokes into the terminal.

    The filter stays over exec and for all children. It needs no_new_privs.
    """
    reason = install_filter()
    if not reason or not has_terminal():
        return
    try:
        harmless = LEGACY_TIOCSTI.read_text(encoding="ascii").strip() == "0"
    except OSError:  # before Linux 6.2, which always allows it
        harmless = False
    if not harmless:
        raise LauncherError(
            f"the site's code could type into this terminal as you ({reason}); set the sysctl dev.tty.legacy_tiocsti "
            "to 0 (Linux 6.2 and later), or start this without a terminal (setsid -w …)"
        )
    say(f"only dev.tty.legacy_tiocsti guards this terminal ({reason})")


def install_filter() -> str:
    """Install the seccomp filter; why that is not possible, else empty."""
    machine = os.uname().machine
    # A 32-bit Python on a 64-bit kernel would be killed as foreign.
    if machine not in IOCTL or sys.maxsize <= 2**32:
        return f"no seccomp filter for a {machine}"
    instructions = seccomp_filter(*IOCTL[machine])
    program = ctypes.create_string_buffer(instructions)
    # struct sock_fprog: how many instructions (of 8 bytes), and their address.
    head = ctypes.create_string_buffer(struct.pack("@HP", len(instructions) // 8, ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) == 0:
        return ""
    return f"seccomp: {os.strerror(ctypes.get_errno())}"
