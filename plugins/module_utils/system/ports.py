"""Listeners on TCP ports of this host, and conflicts between them."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import socket
import time
from collections.abc import Collection, Iterable

from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import recorded_accounts
from ansible_collections.wsgi.sites.plugins.module_utils.system import bound_ports, process
from ansible_collections.wsgi.sites.plugins.module_utils.system.sockets import Socket, overlap, sockets, split
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible


def listeners(port: int) -> list[Socket]:
    """Every socket that listens on a port."""
    return [each for each in sockets() if each.port == port]


def holders(listener: Socket) -> list[int]:
    """PIDs that hold a socket."""
    wanted, found = f"socket:[{listener.inode}]", []
    for pid in process.all_pids():
        try:
            if any(os.readlink(link) == wanted for link in os.scandir(f"/proc/{pid}/fd")):
                found.append(pid)
        except OSError:  # ended meanwhile
            continue
    return sorted(found)


def _seen_by(uid: int, gid: int, listener: Socket) -> list[int]:
    """PIDs that hold a socket, also in a container where root without SYS_PTRACE cannot see other users' sockets."""
    pids = holders(listener)
    if pids or os.geteuid() != 0:
        return pids
    # The user sees its own sockets. The real user stays root, so the user cannot signal us meanwhile.
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return holders(listener)
    finally:
        os.seteuid(0)
        os.setegid(0)


def leftovers(addresses: Iterable[str], account: pwd.struct_passwd, server: int | None) -> list[int]:
    """Processes of a user that listen on one of these addresses with a socket that the live server does not hold.

    A forked process keeps the listeners of its slot, even after `setsid`, and as the oldest ones they would receive all
    connections of the port instead of later releases.

    :param server: PID of the live slot's server, which holds all its sockets itself
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
    """Kill processes of any site's user that hold addresses of this site.

    The launcher binds as root, and while a server runs, no other user can bind its port (SO_REUSEPORT requires the same
    user). While it is down, a compromised site could, and would receive the other site's clients. A socket owned by a
    site's user was created by that site's code; the launcher's sockets are root's.

    A port may also be blocked by a bound socket of another site that does not listen.

    :param own: the site's user
    :returns: the users and PIDs of the killed processes
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
    """Kill processes that hold a port without listening; returns users and PIDs."""
    killed: set[tuple[int, int]] = set()
    while _taken(host, port) and time.monotonic() < deadline:
        # First by resetting connections, then the processes whose sockets cannot be inspected on this host.
        killed |= bound_ports.end(port, others, lambda name: overlap(host, name))
        for uid, pid, _ in _silent(host, port, others):
            if process.signal_if(pid, signal.SIGKILL, lambda pid, uid=uid: process.user(pid) == uid):
                killed.add((uid, pid))
        if not killed:
            break
        time.sleep(0.02)
    return killed


def _taken(host: str, port: int) -> bool:
    """Whether the launcher could not listen there."""
    return _binds(host, port, reuse=True) == os.strerror(errno.EADDRINUSE)


def _silent(host: str, port: int, users: Collection[int]) -> list[tuple[int, int, str]]:
    """Sockets that hold a port without listening: user, PID and address."""
    found = list(bound_ports.holders(port, users, lambda name: overlap(host, name)))
    accounts = recorded_accounts()
    for its in sockets(listening=False):
        if its.port == port and its.uid in users and overlap(host, its.address):
            pids = _seen_by(its.uid, accounts[its.uid][1].pw_gid, its)
            found += [(its.uid, pid, its.address) for pid in pids if process.user(pid) == its.uid]
    return found


def _strange(addresses: Iterable[str]) -> dict[int, list[int]]:
    """Listeners there that a site's user owns: the user and the processes that hold them."""
    accounts, found = recorded_accounts(), {}
    for host, port in map(split, addresses):
        for listener in listeners(port):
            if listener.uid in accounts and overlap(host, listener.address):
                account = accounts[listener.uid][1]
                found.setdefault(listener.uid, []).extend(_seen_by(account.pw_uid, account.pw_gid, listener))
    return found


def _describe(pids: list[int]) -> str:
    if not pids:
        return "a process that this host does not show"
    return f"{visible(process.name(pids[0])) or 'a process'} (PID {pids[0]})"


def _uids(pids: list[int]) -> set[int]:
    return {uid for uid in map(process.user, pids) if uid is not None}


def problem(address: str, uid: int | None, live: Iterable[str] = ()) -> str:
    """Why a site cannot listen on ADDR:PORT; empty if it can.

    The site's own servers (they run as ``uid``) may hold it: the launcher binds with SO_REUSEPORT, so both slots listen
    during a switch. The sockets' owners are checked, since SO_REUSEPORT would also let two sites share a port, and
    each would receive half of the other's clients.

    :param live: the addresses of the site's live release, since the holders of other users' sockets are unknown in a
    container without SYS_PTRACE
    """
    host, port = split(address)
    ours = [split(other) for other in live]
    for listener in listeners(port):
        # nginx's `[::]:80 ipv6only=on` beside our `0.0.0.0:80`: decided by the trial below.
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
    """The message for an address that another site's code holds."""
    return (
        f"{_describe(pids)} of the site {other} (user {account.pw_name}) {does}, so the site cannot listen on "
        f"{address}. If {other} is not meant to, its code may be compromised: stop it (`{other}-ctl "
        "restart`, or `state: absent`) and run again; otherwise choose another port in the site's `bind`"
    )


def _binds(host: str, port: int, reuse: bool) -> str:
    """Bind briefly without listening, so that no client connects; returns the error, or an empty text."""
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
