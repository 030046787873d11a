#!/usr/bin/python3 -I
"""Become the server of one slot, one of a site's processes, or run one command as a site.

    launcher ROOT SLOT                          what supervisor starts: binds the slot's sockets, becomes the server
    launcher ROOT process NAME NUMBER           what supervisor starts: becomes a process, or a job, of the live release
    launcher ROOT run [--release ID] -- CMD…    runs CMD as the site's user with the release's environment

It starts as root, reads root's files only, and gives up root before a line of the site's code runs. It stands alone
on purpose (standard library, the system's Python): it must work whatever state releases and venvs are in.

Exit codes: 77 when this slot or process has no business running (supervisor's `exitcodes=77` then leaves it alone), 1
for anything that went wrong.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import grp
import ipaddress
import json
import math
import os
import pwd
import resource
import select
import signal
import socket
import stat
import struct
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

RUN = Path("/run/sites")
REGISTRY = Path("/var/lib/sites")
SLOTS = ("blue", "green")
REFUSED = 77
# supervisor counts an exit as one of `exitcodes` only once the program was up for `startsecs` (ours: 1); before that it
# is a failed start, to be tried again and again. A process has a longer `startsecs` (3).
REFUSAL_PAUSE = 2.0
PROCESS_REFUSAL_PAUSE = 4.0
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
# By machine: AUDIT_ARCH_…, as which seccomp knows it, and the number of its system call ioctl. All are little-endian.
IOCTL = {"x86_64": (0xC000003E, 16), "aarch64": (0xC00000B7, 29)}
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
LEGACY_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")
# What is passed on to a command that runs on a pseudo-terminal of its own, or is an event for who relays.
RELAYED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
EVENTS = (*RELAYED, signal.SIGCHLD, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT, signal.SIGHUP)
PIECE = 1 << 16
# What the kernel may still hold of a terminal's output is far less; what goes on writing is not waited for.
REST = 1 << 20
# Seconds: a look whether the keyboard is ours, kindness to what a command leaves behind, patience with its end.
LOOK, GRACE, PATIENCE = 0.2, 1.0, 5.0
# So many looks in a row find nothing left of a session.
LOOKS = 3
# Asks a terminal for a sign of life ("ESC [ 0 n"), after ending any sequence that was begun, and after switching off
# what makes a terminal type by itself: mouse, focus, bracketed paste.
SIGN_OF_LIFE = b"\x18\x1b\\\x1b[?1000;1001;1002;1003;1004;1005;1006;1015;1016;2004l\x1b[5n"
ALIVE = b"\x1b[0n"
# What a question to a terminal begins with: ENQ, ESC, and in 8 bits (or UTF-8) DCS, CSI, OSC.
ASKING = (b"\x05", b"\x1b", b"\x90", b"\x9b", b"\x9d")
SO_ATTACH_REUSEPORT_CBPF = 51
# The system call's number, alike on x86_64 and aarch64; since Linux 5.6.
PIDFD_GETFD = 438
FIRST_FD = 3
CGROUPS = Path("/sys/fs/cgroup")
# supervisord's own control group, beside those of the sites: one that limits its members may hold no process itself.
DAEMON = "daemon"
CONTROLLERS = ("memory", "pids")
# When the host has no memory left, the kernel takes a site's process before nginx, supervisord or a database.
OOM_SCORE = 300
# Seconds until what was killed has gone.
KILLED = 5.0
# What may come of files of the kernel's that are not there, not ours, or say something else one day.
SURPRISES = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


class LauncherError(Exception):
    """What went wrong, in words for the server's log."""


def process_fields(pid: int | str) -> list[str]:
    """/proc/PID/stat from field 3 on: field 2, the command's name, stands in brackets and may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def process_start(pid: int) -> int | None:
    """When a process started (clock ticks since boot): with its PID it names one process for good."""
    fields = process_fields(pid)
    return int(fields[19]) if fields else None


def runs(pid: int, start: int) -> bool:
    """Whether this very process still runs; a zombie has ended, only its parent has not noticed."""
    fields = process_fields(pid)
    return bool(fields) and int(fields[19]) == start and fields[0] != "Z"


def is_live(root: Path, slot: str) -> bool:
    """Whether ROOT/live names this slot."""
    try:
        return os.path.normpath(root / os.readlink(root / "live")) == os.path.normpath(root / "slots" / slot)
    except OSError:
        return False


def has_token(site: str, slot: str) -> bool:
    """Whether a deploy is starting this slot under the very supervisord that is our parent."""
    try:
        token = json.loads((RUN / f"{site}-{slot}.token").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    parent = os.getppid()
    return token == {"supervisord_pid": parent, "supervisord_start": process_start(parent)}


def release_of(link: Path) -> Path:
    """The release that a slot holds, by its own path: the slot may hold another one tomorrow."""
    try:
        return link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise LauncherError(f"{link} leads to no release ({error}); run the deploy playbook again") from error


def read_manifest(release: Path) -> dict:
    """What release.json says."""
    path = release / "release.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LauncherError(f"cannot read {path}: {error}") from error


def read_environment(path: Path) -> dict[str, str]:
    """The release's environment: one NAME=JSON_STRING a line. No message shows a value, it may be a secret."""
    try:
        # Not splitlines(): a value may hold a character that Unicode, but not JSON, takes for the end of a line.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LauncherError(f"cannot read {path}: {error}") from None
    environment = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, separator, text = line.partition("=")
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not name or not separator or not isinstance(value, str) or "\0" in value:
            raise LauncherError(f'{path}, line {number}: expected NAME="value" as JSON; deploy a new release')
        environment[name] = value
    return environment


def account(manifest: dict) -> tuple[int, int]:
    """The site's user and group as numbers; root is never one."""
    try:
        uid = pwd.getpwnam(manifest["user"]).pw_uid
        gid = grp.getgrnam(manifest["group"]).gr_gid
    except KeyError as error:
        raise LauncherError(f"the site's user or group is not there ({error}); run the site's playbook again") from None
    if uid == 0 or gid == 0:
        raise LauncherError("a site never runs as root; give it a user of its own")
    return uid, gid


def bind_unix(path: Path, uid: int, group: str, backlog: int) -> socket.socket:
    """Listen on the slot's socket.

    Bound under another name and renamed: nobody finds it missing or with the wrong owner, and an older server of this
    slot keeps its own socket until it ends.
    """
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise LauncherError(f"the group {group} that may reach the socket is not there; is nginx installed?") from None
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(temporary))
        os.chown(temporary, uid, gid, follow_symlinks=False)
        os.chmod(temporary, 0o660)
        listener.listen(backlog)
        os.replace(temporary, path)
    except OSError as error:
        raise LauncherError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    return listener


def parse_address(address: str) -> tuple[str, int]:
    """Split ADDR:PORT; an IPv6 address may stand in brackets."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise LauncherError(f"{address} is not ADDRESS:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)


def bind_tcp(address: str, every: list[str], backlog: int, live: bool, uid: int) -> socket.socket:
    """Listen on a TCP address that the other slot may hold too.

    :param live: whether it is the site's by what is live, so that no other site's code may have it
    :param uid: the site's user
    """
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        # `[::]:80` alone takes IPv4 as well; beside an IPv4 listener on that port it must not.
        shared = any(":" not in other and number == port for other, number in map(parse_address, every))
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(shared))
    deadline, found = time.monotonic() + KILLED, False
    while True:
        try:
            listener.bind((host, port))
            listener.listen(backlog)
            break
        except OSError as error:
            if error.errno == errno.EADDRINUSE and live and time.monotonic() < deadline:
                found = take_back(host, port, uid) or found  # what was killed may need a moment to let go
                if found:
                    time.sleep(0.02)
                    continue
            raise LauncherError(f"cannot listen on {address}: {error.strerror or error}") from error
    prefer_first(listener)
    return listener


def take_back(host: str, port: int, own: int) -> bool:
    """End what the code of a site, this one's or another's, has put on a port while its server was down.

    A socket that is a site user's was made by that site's own code: one that a launcher has bound is root's. Another
    site's holds the port also when it does not listen.

    :param own: this site's user; what its server has accepted is on this port too
    :returns: whether there was any
    """
    users = site_users()
    strange = listed(host, port, users, own)
    found, deadline = bool(strange), time.monotonic() + KILLED
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or a container lets nobody look
            handle = os.pidfd_open(int(folder.name))
            try:
                if (uid := process_user(int(folder.name))) not in users:
                    continue
                its = False
                for link, copy in sockets_of(handle, folder, deadline):
                    if strange.get(link) == uid or (uid != own and copy and holds(copy, host, port)):
                        its = True
                        signal.pidfd_send_signal(handle, signal.SIGSTOP)  # so that it sets nothing back
                        if copy:  # a connection would keep the port for minutes: it ends at once
                            copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
                if its:
                    found = True
                    say(f"PID {folder.name}, of user {uid}, holds port {port}, which is this site's: killed")
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
    return found


def listed(host: str, port: int, users: set[int], own: int) -> dict[str, int]:
    """The sockets of these users on a port that the kernel's tables show, and whose they are; of our own listeners."""
    found = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):  # no IPv6 here
            for words in map(str.split, Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]):
                # Local address, state (0A listens), user, inode.
                (address, _, number), uid = words[1].partition(":"), int(words[7])
                if int(number, 16) != port or uid not in users or (uid == own and words[3] != "0A"):
                    continue
                pieces = [address[i : i + 8] for i in range(0, len(address), 8)]
                raw = b"".join(int(piece, 16).to_bytes(4, sys.byteorder) for piece in pieces)
                if in_the_way(raw, host):
                    found[f"socket:[{words[9]}]"] = uid
    return found


def sockets_of(handle: int, folder: Path, deadline: float) -> Iterator[tuple[str, socket.socket | None]]:
    """The sockets of a process, each with a copy for a moment, where the kernel gives one."""
    call = ctypes.CDLL(None).syscall
    for link in os.scandir(folder / "fd"):
        if time.monotonic() > deadline:
            return
        with contextlib.suppress(OSError):
            if not (target := os.readlink(link)).startswith("socket:"):
                continue
            number = call(ctypes.c_long(PIDFD_GETFD), handle, int(link.name), 0)
            if number < 0:
                yield target, None
                continue
            with socket.socket(fileno=number) as copy:
                yield target, copy


def holds(copy: socket.socket, host: str, port: int) -> bool:
    """Whether a socket is bound to a TCP port, listening or not, and keeps another one from an address."""
    try:
        name = copy.getsockname()
        # Other families have other names; UDP has ports of its own.
        if copy.type != socket.SOCK_STREAM or not isinstance(name, tuple) or name[1] != port:
            return False
        return isinstance(name[0], str) and in_the_way(name[0].partition("%")[0], host)
    except (OSError, ValueError):
        return False


def in_the_way(address: bytes | str, host: str) -> bool:
    """Whether a socket at an address keeps another one from an address."""
    found = map(ipaddress.ip_address, (address, host))
    # IPv4 in IPv6's clothes, ::ffff:127.0.0.1, is that.
    one, other = (getattr(its, "ipv4_mapped", None) or its for its in found)
    return one == other or one.is_unspecified or other.is_unspecified


def site_users() -> set[int]:
    """The users of all sites of this host, as numbers."""
    found = set()
    for path in REGISTRY.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.add(pwd.getpwnam(json.loads(path.read_text(encoding="utf-8"))["user"]).pw_uid)
    return found - {0}


def prefer_first(listener: socket.socket) -> None:
    """Let the kernel give all connections to the socket that listened first, which is the live slot's.

    Otherwise it shares them out, and clients would meet a release that the health gate has not passed. When the first
    one closes, the next takes its place.
    """
    # struct sock_filter: BPF_RET | BPF_K with 0, the index of the socket; struct sock_fprog: its length and address.
    program = ctypes.create_string_buffer(struct.pack("@HBBI", 0x06, 0, 0, 0))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", 1, ctypes.addressof(program))
        )
    except OSError as error:
        say(f"both slots share a port's clients during a deploy ({error})")


def hand_over(listeners: list[socket.socket]) -> None:
    """Put the sockets at 3, 4, … as LISTEN_FDS wants them."""
    # Out of the way first: one of them may sit on a number that another one needs.
    parked = [fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, FIRST_FD + 64) for listener in listeners]
    for number, descriptor in enumerate(parked, start=FIRST_FD):
        os.dup2(descriptor, number, inheritable=True)


def quotas(cgroups: Path, own: str) -> list[float]:
    """The CPUs that each control group around this process leaves it: v2's cpu.max, v1's cfs quota.

    :param cgroups: where control groups are mounted
    :param own: what /proc/self/cgroup says
    """
    found = []
    for line in own.splitlines():
        _number, controllers, path = line.split(":", 2)
        # A line that names no controllers is v2's, alone or beside v1.
        mounts = [] if controllers else [cgroups, cgroups / "unified"]
        if "cpu" in controllers.split(","):
            mounts = [cgroups / controllers, cgroups / "cpu"]
        for mount in mounts:
            # In a container the mount itself is its group, and the path leads nowhere: look all the way up.
            group = mount / path.strip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(mount):
                    found += filter(None, [read_quota(folder)])
    return found


def read_quota(group: Path) -> float | None:
    """The CPUs that one control group allows, or None where it says nothing."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
        allowed = int(quota) / int(period)
    except (OSError, ValueError):  # not there, or "max"
        return None
    return allowed if allowed > 0 else None


def usable_cpus() -> int:
    """How many CPUs this process may really use: the affinity mask, and a quota rounded up."""
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    return max(1, math.ceil(min([len(os.sched_getaffinity(0)), *quotas(Path("/sys/fs/cgroup"), own)])))


def confine(site: str, key: str, manifest: dict, spare: bool = False, supervised: bool = True) -> None:
    """Give this process a control group of its own, and the site's limits. Nothing here keeps a site from starting.

    Where there are no control groups, or they are not ours to make (a container), its limits are those of its user.

    :param spare: whether something may still run there that was told to end
    :param supervised: whether supervisord has started this, so that the sites' groups are to be below its own
    """
    wanted, counted = manifest.get("resources", {}), False
    try:
        with alone():
            if top := own_top() if supervised else noted_top():
                counted = join_group(top / site, key, wanted, spare)
    except SURPRISES:
        pass  # no groups here, or not ours: what an ordinary container has
    try:
        limit_itself(wanted, counted)
    except SURPRISES as error:
        say(f"not all of the site's limits are set ({error})")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One launcher at a time: one that makes way for the controllers must not move another one out of its new group.

    None waits for long: better a process in the wrong group than a site that does not start.
    """
    RUN.mkdir(mode=0o755, exist_ok=True)
    lock = os.open(RUN / "groups.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + 2 * KILLED
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
        yield
    finally:
        os.close(lock)


def join_group(home: Path, key: str, wanted: dict, spare: bool) -> bool:
    """Move to the site's group of this name; whether its number of processes is limited there."""
    group = home / key
    group.mkdir(mode=0o755, parents=True, exist_ok=True)
    for empty in home.glob("run.*"):
        # Who has just made one may not have anybody in it yet.
        if (maker := empty.name.split(".")[1]).isdigit() and process_fields(maker)[:1] in ([], ["Z"]):
            with contextlib.suppress(OSError):  # somebody is still in there
                empty.rmdir()
    if not spare:
        kill_group(group)
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    return limit_group(home, group, wanted)


def own_group() -> Path | None:
    """The control group (version 2) of this process, if that lies at its path: a container may show others'."""
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    path = next((line[3:] for line in own if line.startswith("0::")), None)
    for mount in (CGROUPS, CGROUPS / "unified") if path else ():
        with contextlib.suppress(OSError):
            group = mount / path.strip("/")
            if (group / "cgroup.controllers").exists() and str(os.getpid()) in procs(group):
                return group
    return None


def own_top() -> Path | None:
    """Where the groups of this host's sites are, below supervisord's; noted for what supervisord does not start.

    Its name is this host's alone: containers may share one group, and have sites of the same name.
    """
    base = own_group()
    if base is None:
        return None
    RUN.mkdir(mode=0o755, exist_ok=True)
    info = RUN.stat()
    top = (base.parent if base.name == DAEMON else base) / f"sites-{info.st_dev:x}-{info.st_ino:x}"
    top.mkdir(mode=0o755, exist_ok=True)
    if noted_top() != top:
        temporary = RUN / f".groups.{os.getpid()}"
        temporary.write_text(str(top), encoding="utf-8")
        os.replace(temporary, RUN / "groups")
    return top


def noted_top() -> Path | None:
    """The same, as a launcher under supervisord has noted it."""
    try:
        top = Path((RUN / "groups").read_text(encoding="utf-8"))
    except OSError:
        return None
    return top if top.is_dir() else None


def procs(group: Path) -> list[str]:
    """The PIDs in a control group."""
    return (group / "cgroup.procs").read_text(encoding="ascii").split()


def kill_group(group: Path) -> None:
    """Kill what an earlier process of this name has left: nothing outlives what has started it."""
    if not procs(group):
        return
    say(f"{group.parent.name}-{group.name}: what an earlier process has left is killed")
    deadline = time.monotonic() + KILLED
    while (left := procs(group)) and time.monotonic() < deadline:
        try:
            (group / "cgroup.kill").write_text("1", encoding="ascii")
        except FileNotFoundError:  # before Linux 5.14
            for pid in map(int, left):
                send(pid, signal.SIGKILL, lambda pid: str(pid) in procs(group))
        time.sleep(0.01)


def limit_group(home: Path, group: Path, wanted: dict) -> bool:
    """Set the limits where the kernel's controllers are ours; whether the number of processes is limited."""
    base, top = home.parent.parent, home.parent
    have = [name for name in (base / "cgroup.controllers").read_text(encoding="ascii").split() if name in CONTROLLERS]
    if not have:
        return False
    on = " ".join(f"+{name}" for name in have)
    if set(have) - set((base / "cgroup.subtree_control").read_text(encoding="ascii").split()):
        make_way(base)
        (base / "cgroup.subtree_control").write_text(on, encoding="ascii")
    for folder in (top, home):
        (folder / "cgroup.subtree_control").write_text(on, encoding="ascii")
    if "memory" in have:
        memory = amount(wanted.get("memory_max", "infinity"), whole_memory(base))
        (home / "memory.max").write_text("max" if memory is None else str(memory), encoding="ascii")
    if "pids" not in have:
        return False
    tasks = amount(wanted.get("tasks_max", "infinity"))
    (group / "pids.max").write_text("max" if tasks is None else str(tasks), encoding="ascii")
    return True


def make_way(base: Path) -> None:
    """Move supervisord and what it has started out of the group that is to limit its members.

    :raises OSError: if somebody else is in there: that is no group of supervisord's alone
    """
    if not (base / "cgroup.events").exists():
        return  # the root of all may hold processes
    here, daemon = procs(base), base / DAEMON
    if strange := [pid for pid in here if not descends(int(pid), os.getppid())]:
        raise OSError(errno.EBUSY, f"process {strange[0]} is not supervisord's", str(base))
    daemon.mkdir(mode=0o755, exist_ok=True)
    for pid in here:
        with contextlib.suppress(ProcessLookupError):
            (daemon / "cgroup.procs").write_text(pid, encoding="ascii")


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is another one, or was started by it or by one of its own; also what has ended meanwhile."""
    while pid > 1 and pid != ancestor:
        fields = process_fields(pid)
        if not fields:
            return True
        pid = int(fields[1])
    return pid == ancestor


def amount(text: object, whole: int | None = None) -> int | None:
    """A number as systemd writes it: 500M, 8G, 90% of the whole; None for `infinity`."""
    text = str(text)
    if text == "infinity" or (text.endswith("%") and whole is None):
        return None
    if text.endswith("%"):
        return whole * int(text[:-1]) // 100
    unit = "KMGT".find(text[-1]) + 1
    return int(text[:-1] if unit else text) << 10 * unit


def whole_memory(base: Path) -> int:
    """The host's memory, or what the control groups around this one leave of it."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    found = [int(fields["MemTotal"].split()[0]) << 10]
    for folder in (base, *base.parents):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            found.append(int((folder / "memory.max").read_text(encoding="ascii")))
    return min(found)


def limit_itself(wanted: dict, counted: bool) -> None:
    """Set the limits that a process hands on to all that it starts.

    :param counted: whether a control group limits the number of processes already
    """
    limits = {resource.RLIMIT_FSIZE: amount(wanted.get("file_size_max", "infinity"))}
    if not counted:
        # By user, and each site has its own.
        limits[resource.RLIMIT_NPROC] = amount(wanted.get("tasks_max", "infinity"))
    for kind, limit in limits.items():
        before = resource.getrlimit(kind)[1]
        if limit is not None and (before == resource.RLIM_INFINITY or limit < before):
            resource.setrlimit(kind, (limit, limit))
    score = Path("/proc/self/oom_score_adj")
    if int(score.read_text(encoding="ascii")) < OOM_SCORE:
        score.write_text(str(OOM_SCORE), encoding="ascii")


def base_environment(root: Path, release: Path, user: str) -> dict[str, str]:
    """What the server gets besides the site's own environment; nothing of supervisord's."""
    return {
        "PATH": f"{release}/venv/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(root / "shared"),
        "LANG": "C.UTF-8",
        "USER": user,
        "LOGNAME": user,
        "SITE_CPUS": str(usable_cpus()),  # what `workers: auto` goes by
    }


def drop_privileges(uid: int, gid: int) -> None:
    """Become the site's user for good."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the site's secrets
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise LauncherError(f"cannot forbid new privileges: {os.strerror(ctypes.get_errno())}")
    os.umask(0o027)
    # Python ignores these two for itself; what comes after must not inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def keystroke_filter(audit_arch: int, ioctl: int) -> bytes:
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
    return int(process_fields("self")[4]) != 0


def forbid_typing() -> None:
    """Let nothing that runs from here on push keystrokes into the terminal.

    It is root's, and what the site's code typed there would be read by root's shell. The filter stays over exec and
    for all children. (Needs no_new_privs.)
    """
    machine = os.uname().machine
    # A 32-bit Python on a 64-bit kernel would be killed as foreign.
    if machine in IOCTL and sys.maxsize > 2**32:
        instructions = keystroke_filter(*IOCTL[machine])
        program = ctypes.create_string_buffer(instructions)
        # struct sock_fprog: how many instructions (of 8 bytes), and their address.
        head = ctypes.create_string_buffer(struct.pack("@HP", len(instructions) // 8, ctypes.addressof(program)))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) == 0:
            return
        reason = f"seccomp: {os.strerror(ctypes.get_errno())}"
    else:
        reason = f"no seccomp filter for a {machine}"
    if not has_terminal():
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


def read_note(path: Path) -> dict:
    """What was noted of the process that ran here before, if that very process still runs; else nothing."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        return old if old["pid"] != os.getpid() and runs(old["pid"], old["start"]) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_note(path: Path, **more: object) -> None:
    """Note who runs here from now on: `exec` keeps the PID, so the note stays true."""
    RUN.mkdir(mode=0o755, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    note = {"pid": os.getpid(), "start": process_start(os.getpid()), **more}
    temporary.write_text(json.dumps(note), encoding="utf-8")
    os.replace(temporary, path)


def retire_orphan(site: str, slot: str) -> None:
    """Ask an older server of this slot to end, and note who is the server now.

    A supervisord that was killed leaves its servers behind without a parent. This one's sockets listen already, so
    the orphan ends its requests and nobody is lost.
    """
    note = RUN / f"{site}-{slot}.pid"
    if old := read_note(note):
        say(f"an older server of {site}-{slot} (PID {old['pid']}) still ran; told it to end")
        send(old["pid"], signal.SIGTERM, lambda pid: runs(pid, old["start"]))
    write_note(note)


def await_orphan(note: Path, uid: int) -> None:
    """End an older process of the same name and wait until it has: nobody expects two of them.

    It gets its own stop signal and patience; what outlasts that, or was started by it and left, is killed.
    """
    if not (old := read_note(note)):
        return
    pid, start = old["pid"], old["start"]
    say(f"an older process (PID {pid}) still runs; it is told to end, and waited for")
    send(pid, old.get("signal", signal.SIGTERM), lambda pid: runs(pid, start))
    deadline = time.monotonic() + old.get("patience", 30)
    while runs(pid, start) and time.monotonic() < deadline:
        time.sleep(0.1)
    send(pid, signal.SIGKILL, lambda pid: runs(pid, start))
    # supervisor made it the head of a process group, whose number is nobody else's as long as one of them runs.
    for member in members(pid, uid):
        send(member, signal.SIGKILL, lambda member: member in members(pid, uid))
    deadline = time.monotonic() + KILLED
    while runs(pid, start):  # killed, and not gone yet
        if time.monotonic() > deadline:
            raise LauncherError(
                f"PID {pid}, the older process, does not go although it was killed: it waits for a disk or a network "
                "file system. Bring that back, or restart the host"
            )
        time.sleep(0.05)


def members(group: int, uid: int) -> list[int]:
    """The site's processes in a process group."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if process_fields(pid)[2:3] == [str(group)] and process_user(pid) == uid]


def process_user(pid: int) -> int | None:
    """Whose process it is."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Uid:")), None)


def send(pid: int, sign: int, is_it: Callable[[int], bool]) -> None:
    """Send a signal to the process that has this number now if it is the one that is meant, and to no later one."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if is_it(pid):
                signal.pidfd_send_signal(handle, sign)
        finally:
            os.close(handle)


def say(words: str) -> None:
    """Tell the log."""
    print(f"launcher: {words}", file=sys.stderr, flush=True)


def refuse(words: str, pause: float) -> NoReturn:
    """Say why nothing is to run here, in the way that supervisor leaves alone."""
    say(words)
    time.sleep(pause)
    sys.exit(REFUSED)


def execute(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Become the command."""
    try:
        os.execvpe(command[0], command, environment)
    except BlockingIOError:
        raise LauncherError(
            f"cannot run {command[0]}: the site's user has as many processes and threads as `resources.tasks_max` "
            "allows; end some of them, or raise it and deploy again"
        ) from None
    except OSError as error:
        raise LauncherError(f"cannot run {command[0]}: {error.strerror}") from error


def crew(manifest: dict, cpus: int, busy: int = 0) -> dict[str, str]:
    """How many workers and threads there are to be, for what cannot count for itself: uWSGI, and the scaler.

    :param busy: workers of the live slot; where they follow the load, the next one begins with as many
    """
    workers, threads = manifest.get("workers", "auto"), manifest.get("threads", 1)
    if workers == "auto":
        workers = 2 * cpus + 1
    if most := manifest.get("workers_max", 0):
        workers = min(workers, most)
    if threads == "auto":
        threads = max(1, round((2 * cpus + 1) / workers))
    least = min(workers, manifest.get("workers_min") or workers)
    first = min(workers, max(least, busy))
    counted = {"WORKERS": workers, "WORKERS_MIN": least, "WORKERS_FIRST": first, "THREADS": threads}
    return {f"SITE_{name}": str(number) for name, number in counted.items()}


def live_workers(root: Path, site: str) -> int:
    """How many processes the server of the live slot has started, if it runs."""
    with contextlib.suppress(OSError):
        note = read_note(RUN / f"{site}-{os.path.basename(os.readlink(root / 'live'))}.pid")
        return len(Path(f"/proc/{note['pid']}/task/{note['pid']}/children").read_text().split()) if note else 0
    return 0


def serve(root: Path, slot: str) -> NoReturn:
    """Become the server of a slot, if the slot is live or a deploy is starting it."""
    folder = root / "slots" / slot
    release = release_of(folder / "release")
    manifest = read_manifest(release)
    site = manifest["site"]
    if not is_live(root, slot) and not has_token(site, slot):
        refuse(
            f"{site}-{slot} is not the live slot and no deploy is starting it, so it does not run; "
            "the next deploy removes its program",
            REFUSAL_PAUSE,
        )
    uid, gid = account(manifest)
    environment = base_environment(root, release, manifest["user"]) | read_environment(release / "environment")
    addresses, backlog = manifest.get("listen", []), manifest.get("backlog", 2048)
    if manifest.get("going_live") == "replace":
        # It may not run twice at once, so nobody answers until the older one has ended.
        await_orphan(RUN / f"{site}-{slot}.pid", uid)
    # An older server that supervisord has lost ends its requests; all else that is left of this slot has nobody.
    confine(site, slot, manifest, spare=bool(read_note(RUN / f"{site}-{slot}.pid")))
    # TCP first: when a port is taken, the slot's socket is not touched.
    tcp = [bind_tcp(address, addresses, backlog, is_live(root, slot), uid) for address in addresses]
    names, group = manifest.get("sockets", ["sock"]), manifest["socket_group"]
    listeners = [*(bind_unix(folder / name, uid, group, backlog) for name in names), *tcp]
    retire_orphan(site, slot)
    hand_over(listeners)
    if "workers" in manifest:
        environment |= crew(manifest, usable_cpus(), live_workers(root, site) if manifest.get("workers_min") else 0)
    if manifest.get("server") == "uwsgi":
        # Its configuration names the sockets: by LISTEN_FDS it would take each of them for one of the uwsgi protocol.
        environment |= {"SITE_SLOT": slot}
    else:
        environment |= {"LISTEN_FDS": str(len(listeners)), "LISTEN_PID": str(os.getpid())}
    os.chdir(release / "app")
    drop_privileges(uid, gid)
    execute(manifest["command"], environment)


def process(root: Path, arguments: list[str]) -> NoReturn:
    """Become one of the live release's processes, or its job, by what its release.json says of that name."""
    name, number = arguments
    try:
        slot = os.path.basename(os.readlink(root / "live"))
    except OSError:
        raise LauncherError("nothing is live yet; deploy it first") from None
    release = release_of(root / "slots" / slot / "release")
    manifest = read_manifest(release)
    site, known = manifest["site"], manifest.get("processes", {})
    if name not in known or not (number.isdecimal() and 1 <= int(number) <= known[name]["count"]):
        refuse(
            f"the live release of {site} ({release.name}) has no process {name} {number}, so it does not run; the next "
            "deploy removes its program",
            PROCESS_REFUSAL_PAUSE,
        )
    uid, _ = account(manifest)
    note, it = RUN / f"{site}-{name}-{int(number)}.pid", known[name]
    await_orphan(note, uid)
    confine(site, f"{name}-{int(number)}", manifest)
    how = {"signal": signal.Signals[f"SIG{it['stop_signal']}"], "patience": it["patience"]}
    write_note(note, slot=slot, release=release.name, **how)
    as_site(root, release, manifest, it["command"], crew(manifest, usable_cpus()) if "workers" in manifest else None)


def run(root: Path, arguments: list[str]) -> NoReturn:
    """Run a command as the site: hooks, a shell. The live release unless another one is named."""
    release_id = None
    if arguments[:1] == ["--release"] and len(arguments) > 1:
        release_id, arguments = arguments[1], arguments[2:]
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        raise LauncherError("nothing to run: launcher ROOT run [--release ID] -- COMMAND…")
    release = release_of(root / "releases" / release_id if release_id else root / "live" / "release")
    manifest = read_manifest(release)
    # A shell wants to know its terminal.
    terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}

    def start() -> NoReturn:
        confine(manifest["site"], f"run.{os.getpid()}", manifest, supervised=False)
        as_site(root, release, manifest, arguments, terminal)

    uid, _ = account(manifest)
    apart(start, uid, manifest["site"])


def apart(start: Callable[[], NoReturn], uid: int, site: str) -> NoReturn:
    """Run what becomes a command of the site's away from root's terminal, if there is one, and end as it ends."""
    if not has_terminal() and not any(map(os.isatty, range(FIRST_FD))):
        os.closerange(FIRST_FD, os.sysconf("SC_OPEN_MAX"))
        start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = Relay(uid, site).run(start)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    with contextlib.suppress(OSError):  # SIGKILL has no handler
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(128 + os.WTERMSIG(status))


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
        if listens and len(self.typed) < PIECE:
            poll.register(self.keyboard, select.POLLIN)
        patience = None if self.keyboard is None or self.saved else LOOK * 1000
        ready = dict(poll.poll(patience))
        if self.events in ready:
            for number in os.read(self.events, PIECE):
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
                tty.setraw(self.keyboard, termios.TCSADRAIN)
        except termios.error:
            self.gone = True
        return not self.gone

    def type(self) -> None:
        """Take what was typed."""
        try:
            keys = os.read(self.keyboard, PIECE)
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
            piece = os.read(self.master, PIECE)
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
            if in_front(self.keyboard):
                tty.setraw(self.keyboard, termios.TCSADRAIN)
            else:
                self.saved = None
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
            self.end_session()
            self.end_group()
        if self.master is not None:
            rest = REST
            while rest > 0 and not self.gone and (shown := self.show()):
                rest -= shown
            os.close(self.master)
            os.close(self.slave)
            if self.asked and not self.gone:
                self.await_answers()
        return os.waitpid(self.pid, 0)[1]

    def end_session(self) -> None:
        """End what runs in the command's session: kindly, then not; bounded, whatever it starts meanwhile."""
        for sign, patience in ((signal.SIGHUP, GRACE), (signal.SIGKILL, PATIENCE)):
            deadline, looks = time.monotonic() + patience, 0
            for each in (sign, signal.SIGCONT):
                self.send_session(in_session(self.pid), each)
            # A look may miss what is just being started.
            while looks < LOOKS and time.monotonic() < deadline:
                left = in_session(self.pid)
                looks = 0 if left else looks + 1
                if sign == signal.SIGKILL:
                    self.send_session(left, sign)
                if self.master is not None and not self.gone:
                    self.show()
                if left:
                    time.sleep(0.01)
            if looks == LOOKS:
                return

    def send_session(self, pids: list[int], sign: int) -> None:
        """Send a signal to those of the session's processes that still are."""
        for pid in pids:
            send(pid, sign, lambda pid: pid in in_session(self.pid))

    def end_group(self) -> None:
        """End also what has left the session, where it has a control group."""
        with contextlib.suppress(*SURPRISES):
            if top := noted_top():
                kill_group(top / self.site / f"run.{self.pid}")

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
                    heard = heard[-len(ALIVE) :] + (os.read(self.screen, PIECE) or ALIVE)
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


def in_session(session: int) -> list[int]:
    """What runs in a session, but has not ended."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    fields = ((pid, process_fields(pid)) for pid in pids)
    return [pid for pid, said in fields if said[3:4] == [str(session)] and said[0] != "Z"]


def as_site(
    root: Path, release: Path, manifest: dict, command: list[str], more: dict[str, str] | None = None
) -> NoReturn:
    """Become a command, in a release's ``app/``, as the site's user with the release's environment."""
    uid, gid = account(manifest)
    environment = base_environment(root, release, manifest["user"]) | read_environment(release / "environment")
    os.chdir(release / "app")
    drop_privileges(uid, gid)
    forbid_typing()
    execute(command, environment | (more or {}))


def main(arguments: list[str]) -> NoReturn:
    """Entry point."""
    what = arguments[1:2]
    if not (what == ["run"] or what in [[slot] for slot in SLOTS] or (what == ["process"] and len(arguments) == 4)):
        sys.exit(
            "usage: launcher ROOT blue|green\n       launcher ROOT process NAME NUMBER\n"
            "       launcher ROOT run [--release ID] -- COMMAND…"
        )
    root, what = Path(arguments[0]), arguments[1]
    try:
        if os.geteuid() != 0:
            raise LauncherError("must be started by root (it gives that up itself)")
        if what == "run":
            run(root, arguments[2:])
        if what == "process":
            process(root, arguments[2:])
        serve(root, what)
    except LauncherError as error:
        sys.exit(f"launcher: {root} {what}: {error}")
    except (OSError, KeyError) as error:
        sys.exit(f"launcher: {root} {what}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
