"""Runs git with limits of time, output and size, and explains its errors."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import clean_url, last_lines, masked

# Timeout of one command in seconds.
PATIENCE = 900
# Maximum bytes of a fetch, of a listing, and of errors.
PACK, LISTED, TOLD = 4 << 30, 256 << 20, 64 << 10


def run(
    arguments: Iterable[str], repository: Path, environment: Mapping[str, str], url: str, cut: bool = False
) -> tuple[int, bytes, bytes]:
    """Run git; returns its status, its output, and the end of its errors.

    :param url: the repository's URL, for messages
    :param cut: truncate an output that is too long, which is otherwise an error
    """
    command = ["git", f"--git-dir={repository}", *arguments]
    try:
        started = subprocess.Popen(
            command,
            cwd="/",
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise InputError("source.git: there is no git on the controller; install it: apt install git") from None
    with started:
        try:
            # Limits a server that sends endlessly.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (PACK, PACK))
            out, errors, whole = listen(started, LISTED)
            if whole:
                return started.wait(PATIENCE), out, errors
            os.killpg(started.pid, signal.SIGKILL)
        except BaseException as error:
            # With its children: ssh, or git's HTTP helper.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            if isinstance(error, (subprocess.TimeoutExpired, TimeoutError)):
                raise InputError(f"source.git: {clean_url(url)} took longer than {PATIENCE // 60} minutes") from None
            raise
    if cut:
        return 0, out, errors
    raise InputError(
        f"source.git: {clean_url(url)} lists more than {LISTED >> 20} MB of names; leave out what the app does not need"
    )


def listen(started: subprocess.Popen[bytes], limit: int) -> tuple[bytes, bytes, bool]:
    """The output of a program, the end of its errors, and whether the output is complete.

    :raises TimeoutError: if it takes too long
    """
    deadline = time.monotonic() + PATIENCE
    out, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as ready:
        for stream in (started.stdout, started.stderr):
            ready.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
        while ready.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            for key, _ in ready.select(left):
                data = os.read(key.fd, 65536)
                if not data:
                    ready.unregister(key.fileobj)
                elif key.fileobj is started.stderr:
                    errors += data
                    del errors[:-TOLD]
                else:
                    out += data
                    if len(out) > limit:
                        del out[limit:]
                        return bytes(out), bytes(errors), False
    return bytes(out), bytes(errors), True


def explain(errors: str, url: str) -> str:
    """Convert git's errors to a message with a remedy."""
    said = last_lines(masked(errors, url))
    low, words = errors.lower(), clean_url(url)
    for clues, remedy in (
        (
            ("host key verification failed", "no matching host key", "remote host identification has changed"),
            "this machine does not know that host's key, and refuses code from unknown hosts. Compare the "
            "fingerprint with the one that the host's owner publishes, then: ssh-keyscan HOST >> ~/.ssh/known_hosts",
        ),
        (
            ("unprotected private key",),
            "ssh does not use a key that others can read: chmod 600 it",
        ),
        (
            ("permission denied (",),
            "the host refuses the key. Give the key's public half access there (a deploy key), and name the key as "
            "source.key; a key with a passphrase has to be in ssh-agent, without source.key",
        ),
        (
            ("could not read username", "could not read password", "authentication failed", "error: 401", "error: 403"),
            "it wants another login. Put it into the URL (https://USER:TOKEN@…), in a vault file",
        ),
        (
            ("not found", "does not appear to be a git repository", "does not exist"),
            "there is no repository, or none that this login may see; correct source.git",
        ),
        (
            ("certificate", "ssl"),
            "this machine does not trust its certificate. Add the authority to /usr/local/share/ca-certificates, then: "
            "update-ca-certificates",
        ),
        (("dubious ownership",), "the repository belongs to another user of this machine; see git's words"),
        (("no space left",), "the disk is full; free some space, then run again"),
        (("early eof", "unexpected disconnect"), "the connection broke off; run again"),
        (
            ("signal 25", "file too large", "invalid index-pack output"),
            f"it is larger than {PACK >> 20} MB; take large files out of its history, or deploy an archive",
        ),
    ):
        if any(clue in low for clue in clues):
            return f"source.git: {words}: {remedy}. git says:\n{said}"
    return f"source.git: {words} cannot be reached; check the URL and the network of this machine. git says:\n{said}"
