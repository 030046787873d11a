"""Who listens on a TCP port of this host."""

from __future__ import annotations

import errno
import ipaddress
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import recorded_accounts
from ansible_collections.wsgi.sites.plugins.module_utils.system import bound_ports, process
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

LISTENING = "0A"


class Listener(NamedTuple):
    """One socket that the kernel's tables show, mostly one that listens."""

    address: str
    port: int
    uid: int
    inode: str


def split(address: str) -> tuple[str, int]:
    """ADDR:PORT, an IPv6 address in brackets or not."""
    host, _, port = address.rpartition(":")
    return host.strip("[]") or "0.0.0.0", int(port)


def _address(text: str) -> str:
    """The kernel's notation: words of four bytes in the machine's byte order."""
    words = [text[i : i + 8] for i in range(0, len(text), 8)]
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return str(ipaddress.ip_address(raw))


def listeners(port: int, proc: Path = Path("/proc"), connected: bool = False) -> list[Listener]:
    """Every socket that listens on this port.

    :param connected: those that do not listen instead: connections from or to it
    """
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # no IPv6 here
            continue
        for line in lines:
            words = line.split()
            host, _, number = words[1].partition(":")
            if (words[3] != LISTENING) == connected and int(number, 16) == port:
                found.append(Listener(_address(host), port, int(words[7]), words[9]))
    return found


def overlap(one: str, other: str) -> bool:
    """Whether two listeners on one port would get in each other's way. `::` may take IPv4 as well, so it counts."""
    first, second = bound_ports.plain(one), bound_ports.plain(other)
    if first == second or (first.version == second.version and (first.is_unspecified or second.is_unspecified)):
        return True
    return str(first) == "::" or str(second) == "::"


def holders(listener: Listener) -> list[int]:
    """PIDs that hold a socket."""
    wanted, found = f"socket:[{listener.inode}]", []
    for pid in process.everybody():
        try:
            if any(os.readlink(link) == wanted for link in os.scandir(f"/proc/{pid}/fd")):
                found.append(pid)
        except OSError:  # it ended meanwhile
            continue
    return sorted(found)


def _seen_by(uid: int, gid: int, listener: Listener) -> list[int]:
    """PIDs that hold a socket, also in a container where root without SYS_PTRACE sees no other user's."""
    pids = holders(listener)
    if pids or os.geteuid() != 0:
        return pids
    # The user itself sees its own. Our real user stays root, so it can do nothing to us meanwhile.
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return holders(listener)
    finally:
        os.seteuid(0)
        os.setegid(0)


def leftovers(addresses: Iterable[str], account: pwd.struct_passwd, server: int | None) -> list[int]:
    """Processes of a user that listen on one of these addresses with a socket that is not the live server's.

    What a site's code has forked keeps the listeners of its slot, wherever it goes (`setsid`), and as the oldest they
    would be given every client of the port, past any release that goes live later.

    :param server: PID of the live slot's server, which holds each of its sockets itself
    """
    found: set[int] = set()
    for host, port in map(split, addresses):
        for listener in listeners(port):
            if not overlap(host, listener.address):
                continue
            pids = _seen_by(account.pw_uid, account.pw_gid, listener)
            if server not in pids:
                found |= {pid for pid in pids if process.user(pid) == account.pw_uid}
    return sorted(found)


def take_back(addresses: Iterable[str], own: int | None = None, patience: float = 5) -> set[tuple[int, int]]:
    """Kill what the code of a site, this one's or another's, has put on addresses that are this site's.

    The launcher binds as root, and as long as a server runs nobody else gets its port (SO_REUSEPORT wants the same
    user). While it is down a site that was taken over could, and would have its neighbour's clients. A socket that is
    a site user's was made by that site's own code; one that the launcher has bound is root's.

    A port that cannot be had may also be held by a socket that does not listen, of another site.

    :param own: the site's user
    :returns: the users and PIDs of what was killed
    """
    killed: set[tuple[int, int]] = set()
    deadline = time.monotonic() + patience
    while (found := _strange(addresses)) and time.monotonic() < deadline:
        for uid, pids in found.items():
            for pid in pids:
                if process.signal_if(pid, signal.SIGKILL, lambda pid, uid=uid: process.user(pid) == uid):
                    killed.add((uid, pid))
        time.sleep(0.02)
    for host, port in map(split, addresses):
        killed |= _free(host, port, recorded_accounts().keys() - {own}, deadline)
    return killed


def _free(host: str, port: int, others: Collection[int], deadline: float) -> set[tuple[int, int]]:
    """Kill what holds a port without listening; the users and PIDs."""
    killed: set[tuple[int, int]] = set()
    while _taken(host, port) and time.monotonic() < deadline:
        # First with the connections cut, then what this host lets nobody look into.
        killed |= bound_ports.end(port, others, lambda name: overlap(host, name))
        for uid, pid, _ in _silent(host, port, others):
            if process.signal_if(pid, signal.SIGKILL, lambda pid, uid=uid: process.user(pid) == uid):
                killed.add((uid, pid))
        if not killed:
            break
        time.sleep(0.02)
    return killed


def _taken(host: str, port: int) -> bool:
    """Whether not even the launcher could listen there."""
    return _binds(host, port, reuse=True) == os.strerror(errno.EADDRINUSE)


def _silent(host: str, port: int, users: Collection[int]) -> list[tuple[int, int, str]]:
    """What holds a port with a socket that does not listen: the user, the PID, the address."""
    found = list(bound_ports.holders(port, users, lambda name: overlap(host, name)))
    accounts = recorded_accounts()
    for its in listeners(port, connected=True):
        if its.uid in users and overlap(host, its.address):
            pids = _seen_by(its.uid, accounts[its.uid][1].pw_gid, its)
            found += [(its.uid, pid, its.address) for pid in pids if process.user(pid) == its.uid]
    return found


def _strange(addresses: Iterable[str]) -> dict[int, list[int]]:
    """What listens there with a socket of a site's user: the user and the processes that hold it."""
    accounts, found = recorded_accounts(), {}
    for host, port in map(split, addresses):
        for listener in listeners(port):
            if listener.uid in accounts and overlap(host, listener.address):
                account = accounts[listener.uid][1]
                found.setdefault(listener.uid, []).extend(_seen_by(account.pw_uid, account.pw_gid, listener))
    return found


def _describe(pids: list[int]) -> str:
    if not pids:
        return "a process that cannot be seen from here"
    return f"{visible(process.name(pids[0])) or 'a process'} (PID {pids[0]})"


def _uids(pids: list[int]) -> set[int]:
    return {uid for uid in map(process.user, pids) if uid is not None}


def problem(address: str, uid: int | None, live: Iterable[str] = ()) -> str:
    """Why a site cannot listen on ADDR:PORT; empty if it can.

    The site's own servers (they run as ``uid``) may hold it: the launcher binds with SO_REUSEPORT, so both slots
    serve it during a switch. Only looking at the sockets tells: SO_REUSEPORT would let two sites share a port as well,
    and each would get half of the other's clients.

    :param live: what the site's live release listens on: in a container without SYS_PTRACE nobody may look whose
        another user's socket is
    """
    host, port = split(address)
    ours = [split(other) for other in live]
    for listener in listeners(port):
        # nginx's `[::]:80 ipv6only=on` beside our `0.0.0.0:80`: the trial below settles that.
        if not overlap(host, listener.address):
            continue
        pids = holders(listener)
        uids = _uids(pids)
        if uid is not None and uids == {uid}:
            continue
        if not pids and (listener.address, listener.port) in ours:
            continue
        if _binds(host, port, reuse=False) == "":
            continue
        if listener.uid in (accounts := recorded_accounts()):
            return _neighbour(*accounts[listener.uid], pids, f"listens on {listener.address} port {port}", address)
        return (
            f"{_describe(pids)} already listens on {listener.address} port {port}, so the site cannot listen on "
            f"{address}; stop that, or choose another port in the site's `bind`"
        )
    words = _binds(host, port, reuse=True)
    if words == os.strerror(errno.EADDRINUSE):
        accounts = recorded_accounts()
        for its, pid, name in _silent(host, port, accounts.keys() - {uid}):
            return _neighbour(*accounts[its], [pid], f"holds {name} port {port} without listening", address)
    if words:
        return f"the site cannot listen on {address}: {words}; correct the site's `bind`"
    return ""


def _neighbour(other: str, account: pwd.struct_passwd, pids: list[int], does: str, address: str) -> str:
    """Why a site cannot have an address that another site's code has."""
    return (
        f"{_describe(pids)} of the site {other} (user {account.pw_name}) {does}, so the site cannot listen on "
        f"{address}. If {other} has no business there, its code may have been taken over: stop it (`{other}-ctl "
        "restart`, or `state: absent`) and run again; otherwise choose another port in the site's `bind`"
    )


def _binds(host: str, port: int, reuse: bool) -> str:
    """Bind for a moment without listening, so no client ever lands here; the error's words, or empty."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            trial.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return ""
