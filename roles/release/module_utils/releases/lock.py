"""One deploy a site at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from ansible.module_utils.daemons import runtime
from ansible.module_utils.releases import layout
from ansible.module_utils.releases.layout import Layout


class Busy(Exception):
    """Another run holds the site."""


@contextlib.contextmanager
def site_lock(site: Layout, enabled: bool = True) -> Iterator[None]:
    """Hold the site's lock; the kernel lets go of it when the process ends, however it ends.

    :param enabled: False in check mode, which writes nothing, not even a lock's file
    """
    if not enabled:
        yield
        return
    runtime.make_folder(layout.RUN)
    descriptor = os.open(site.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
            raise Busy(
                f"{site.name}: another run is at work on this site (PID {holder} on the host holds {site.lock}); "
                "wait until it ends, then run again"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
