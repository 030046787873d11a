"""Downloads an archive, and verifies it before use."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit

from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.cache import forget, locked, private
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.limits import BLOCK
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import clean_url, is_url, masked

# Timeouts in seconds: without a byte, and in all.
STALL, PATIENCE = 30, 900
# The number of most recently used archives that stay in the cache.
KEEP = 10
# The bytes of an archive.
PACKED = 2 << 30
REDIRECTS = 10
MOVED = (301, 302, 303, 307, 308)


def fetch(place: str, sha256: str, project: Path, cache: Path) -> BinaryIO:
    """Open the archive with that hash, so that no other process can replace it.

    Downloads are cached by hash, so the next run needs no network; cached files are verified too.

    :param place: a URL, or a path that may be relative to the project
    :raises InputError: if it is not available, or has another hash
    """
    wanted = sha256.lower()
    if not is_url(place):
        path = Path(os.path.normpath(project / Path(place).expanduser()))
        if not path.is_file():
            raise InputError(f"source.archive: there is no file {path} on the controller")
        private(cache / "archives")
        copy = tempfile.TemporaryFile(dir=cache / "archives")  # noqa: SIM115 - the caller closes it
        try:
            with path.open("rb") as original:
                _copy(original.read, copy, None)
            _verify(copy, wanted, f"{path}")
        except BaseException:
            copy.close()
            raise
        return copy
    kept = cache / "archives" / wanted
    with locked(kept.with_name(f"{wanted}.lock")):
        if kept.is_file() and digest(kept) == wanted:
            os.utime(kept)
            return kept.open("rb")
        temporary = kept.with_name(f"{wanted}.new")
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb+") as target:
                _download(place, target)
                _verify(target, wanted, clean_url(place))
            temporary.replace(kept)
        finally:
            temporary.unlink(missing_ok=True)
        opened = kept.open("rb")
    forget((path for path in kept.parent.iterdir() if not path.suffix), KEEP)
    return opened


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return _digest(stream)


def _digest(stream: BinaryIO) -> str:
    total = hashlib.sha256()
    stream.seek(0)
    while block := stream.read(BLOCK):
        total.update(block)
    stream.seek(0)
    return total.hexdigest()


def _verify(stream: BinaryIO, wanted: str, words: str) -> None:
    stream.flush()
    found = _digest(stream)
    if found != wanted:
        raise InputError(
            f"source.sha256: {words} is not the archive that the site config names: its hash is {found}. If you "
            "mean that one, set its hash; if not, find out why it changed. Nothing of it was used."
        )


def _copy(read: Callable[[int], bytes], target: BinaryIO, late: Callable[[], None] | None) -> None:
    size = 0
    while block := read(BLOCK):
        size += len(block)
        if size > PACKED:
            raise InputError(
                f"source.archive: is larger than {PACKED >> 20} MB; leave out what the app does not need, and keep "
                "data in shared/"
            )
        target.write(block)
        if late:
            late()


def _download(url: str, target: BinaryIO) -> None:
    words = clean_url(url)
    deadline = time.monotonic() + PATIENCE

    def late() -> None:
        if time.monotonic() > deadline:
            raise InputError(f"source.archive: {words} did not come within {PATIENCE // 60} minutes")

    try:
        with contextlib.closing(_open(url, late)) as answer:
            # Available bytes instead of whole blocks, so that the deadline also applies to slow transfers.
            _copy(answer.read1, target, late)
    except HTTPError as error:
        login = " Put its login into the URL, in a vault file." if error.code in (401, 403) else ""
        raise InputError(f"source.archive: {words} answers {error.code} ({error.reason}).{login}") from None
    except (SSLValidationError, AnsibleConnectionError) as error:
        raise InputError(f"source.archive: {words} is not trusted: {masked(str(error), url)}") from None
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        said = masked(str(getattr(error, "reason", error)), url)
        raise InputError(f"source.archive: {words} cannot be fetched: {said}. Is it reachable from here?") from None


def _open(url: str, late: Callable[[], None]) -> Any:
    """Request a URL and follow redirects, never from https to http, and with the login only for its own server."""
    first, place = urlsplit(url), url
    for _ in range(REDIRECTS):
        late()
        own = urlsplit(place).netloc == first.netloc
        try:
            return open_url(place, timeout=STALL, http_agent="sites", follow_redirects="none", use_netrc=own)
        except HTTPError as error:
            to = error.headers.get("Location") if error.code in MOVED else None
            if not to:
                raise
            error.close()
        there = urlsplit(urljoin(clean_url(place), to))
        if there.scheme != "https" and (first.scheme == "https" or there.scheme != "http"):
            raise URLError("it leads to a URL without https")
        netloc = there.netloc.rpartition("@")[2]
        # The same scheme by now, or https after http.
        if netloc == first.netloc.rpartition("@")[2]:
            netloc = first.netloc
        place = there._replace(netloc=netloc, fragment="").geturl()
    raise URLError(f"it leads on and on, more than {REDIRECTS} times")
