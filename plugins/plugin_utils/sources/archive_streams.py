"""Decompresses archives within limits of memory and size."""

from __future__ import annotations

import io
import lzma
import zlib
from typing import Any, BinaryIO

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.limits import BLOCK

# The maximum compression ratio.
RATIO = 200
# What an archive may have in memory at once: a name, a zip's list of files; and the dictionary of xz.
AT_ONCE, XZ_MEMORY = 64 << 20, 256 << 20


def too_much(limit: int) -> InputError:
    """The error for an archive that unpacks to more than it may."""
    return InputError(
        f"source.archive: unpacks to more than {limit >> 20} MB, which is more than {RATIO} times its size or more "
        "than any source may be; leave out what the app does not need"
    )


class Careful(io.RawIOBase):
    """An archive's bytes, read in limited blocks."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(AT_ONCE + 1 if size < 0 else min(size, AT_ONCE + 1))
        if len(data) > AT_ONCE:
            raise InputError("source.archive: has a list or a name of many megabytes; pack it again")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()


class Unpacked(io.RawIOBase):
    """The decompressed content of a stream, up to a limit."""

    def __init__(self, opened: BinaryIO, gzipped: bool, limit: int) -> None:
        opened.seek(0)
        self.packed, self.gzipped, self.limit, self.position = opened, gzipped, limit, 0
        self.current, self.waiting = self._next(), b""

    def _next(self) -> Any:
        return zlib.decompressobj(31) if self.gzipped else lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek forward only, which is sufficient for reading a tarball."""
        if whence != io.SEEK_SET or offset < self.position:
            raise io.UnsupportedOperation("backward")
        if offset > self.limit:
            raise too_much(self.limit)
        while self.position < offset and self.read(min(BLOCK, offset - self.position)):
            pass
        return self.position

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > AT_ONCE:
            raise InputError("source.archive: has a name of many megabytes; pack it again")
        parts = []
        while size and (data := self._some(size)):
            parts.append(data)
            size -= len(data)
            self.position += len(data)
            if self.position > self.limit:
                raise too_much(self.limit)
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        """Read at least one byte, except at the end."""
        while True:
            if self.current.eof:
                self.waiting = (self.current.unused_data or self.packed.read(BLOCK)).lstrip(b"\0")
                if not self.waiting:
                    return b""
                self.current = self._next()
            packed = self.waiting or (b"" if self._holds_more() else self.packed.read(65536))
            data = self._decompress(packed, size)
            self.waiting = self.current.unconsumed_tail if self.gzipped else b""
            if data:
                return data
            if not packed and not self.current.eof:
                raise EOFError

    def _decompress(self, packed: bytes, size: int) -> bytes:
        try:
            return self.current.decompress(packed, size)
        except lzma.LZMAError as error:
            if "emory" not in str(error):
                raise
            raise InputError(
                f"source.archive: xz wants more than {XZ_MEMORY >> 20} MB of memory to unpack it; pack it with a "
                "smaller dictionary (xz -9 has 64 MB), or as .tar.gz"
            ) from None

    def _holds_more(self) -> bool:
        return not self.gzipped and not self.current.needs_input
