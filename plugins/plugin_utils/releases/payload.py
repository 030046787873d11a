"""The payload of a release: source, settings, the collection's lock of the server, and wheels, as one archive.

The environment (secrets) is sent only here, never in a module's arguments, a result, an error or a log.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.source_files import Entry
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits


class _Hashing(io.RawIOBase):
    """Reads and hashes a file."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.hash = stream, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.hash.update(data)
        return data


def pack(
    target: BinaryIO,
    entries: list[Entry],
    settings: Mapping[str, Any],
    server_lock: bytes,
    wheelhouse: Sequence[Path] = (),
) -> None:
    """Write the payload: the same source and settings make the same bytes, on every controller."""
    with (
        gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in (
            ("settings.json", json.dumps(settings, sort_keys=True).encode()),
            ("server.txt", server_lock),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
        for wheel in wheelhouse:
            member = tarfile.TarInfo(f"wheels/{wheel.name}")
            member.size, member.mode = wheel.stat().st_size, 0o600
            with wheel.open("rb") as stream:
                tar.addfile(member, stream)
        for entry in entries:
            _add(tar, entry)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    member = tarfile.TarInfo(f"app/{entry.name}")
    if entry.kind == "folder":
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(member)
    elif entry.kind == "link":
        member.type, member.linkname = tarfile.SYMTYPE, entry.digest
        tar.addfile(member)
    else:
        with os.fdopen(limits.open_below(entry.top, entry.name), "rb") as stream:
            status = os.fstat(stream.fileno())
            # The real time: nginx derives ETags from it, so that unchanged files stay in browsers' caches.
            member.mtime = int(status.st_mtime)
            member.size, member.mode = entry.size, 0o755 if entry.executable else 0o644
            reader = _Hashing(stream)
            try:
                tar.addfile(member, reader)
            except OSError:
                raise InputError(f"{entry.name} changed while it was packed; run again") from None
        if reader.hash.hexdigest() != entry.digest or status.st_size != entry.size:
            raise InputError(f"{entry.name} changed while it was packed; run again")
