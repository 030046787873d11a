"""A private copy of nginx's configuration with pending changes, for a test before anything is changed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.files import Change
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.nginx import tree


@dataclass(frozen=True)
class Candidate:
    """The copy of a configuration, whose paths lead into the copy.

    :param real: the folder of the real configuration
    :param copy: that of the copy
    :param quiet_logs: create no logs, since their folders may not exist yet
    """

    real: Path
    copy: Path
    quiet_logs: bool

    def fill(self, changes: Iterable[Change], assumed: Mapping[str, str]) -> None:
        """Copy the real configuration, then apply the changes and the files of earlier steps."""
        changes = list(changes)
        files = {Path(path): text.encode() for path, text in assumed.items()}
        files |= {change.path: change.content.encode() for change in changes if change.content is not None}
        links = {change.path: change.target for change in changes if change.target is not None}
        self._copy_existing(skip={*files, *links, *(change.path for change in changes)})
        for path, body in files.items():
            if path.is_relative_to(self.real):
                self._place(path).write_bytes(self._rewritten(body))
        for path, target in links.items():
            if path.is_relative_to(self.real):
                self._place(path).symlink_to(self._rewritten(str(target).encode()).decode())

    def _copy_existing(self, skip: set[Path]) -> None:
        """Copy only files that name the real folder, and link the rest, so that no private key is copied."""
        for folder, names, _ in os.walk(self.real):
            for name in names:
                if not os.path.islink(os.path.join(folder, name)):
                    (self.copy / Path(folder, name).relative_to(self.real)).mkdir(parents=True, exist_ok=True)
        for path, _ in tree(self.real):
            here = self.copy / path.relative_to(self.real)
            if path in skip:
                continue
            if path.is_symlink():
                here.symlink_to(self._rewritten(os.readlink(path).encode()).decode())
            elif path.is_file():
                body = path.read_bytes()
                if self._rewritten(body) == body:
                    here.symlink_to(path)
                else:
                    here.write_bytes(self._rewritten(body))

    def _place(self, path: Path) -> Path:
        """Free the path in the copy that stands for a path of the real configuration, and return it."""
        here = self.copy / path.relative_to(self.real)
        here.parent.mkdir(parents=True, exist_ok=True)
        here.unlink(missing_ok=True)
        return here

    def _rewritten(self, body: bytes) -> bytes:
        """A file's content with the paths of the copy."""
        real, copy = str(self.real).encode(), str(self.copy).encode()
        body = re.sub(rb"(?<![\w./-])" + re.escape(real) + rb"(?![\w.-])", copy, body)
        # `nginx -t` creates the pid file that the configuration names.
        body = re.sub(rb"(?m)^(\s*pid\s+)[^;\s]+;", rb"\g<1>" + copy + rb"/.pid;", body)
        # It also creates the folders of caches; each needs one of its own.
        body = re.sub(
            rb"(?m)^(\s*proxy_cache_path\s+)(/[^;\s]+)",
            lambda found: found[1] + copy + b"/.cache" + found[2].replace(b"/", b"-"),
            body,
        )
        if self.quiet_logs:
            body = re.sub(rb"(?m)^(\s*(?:access|error)_log\s+)/[^;\s]+", rb"\g<1>/dev/null", body)
        return body


@contextmanager
def candidate(
    changes: Iterable[Change], assumed: Mapping[str, str], conf_dir: Path, quiet_logs: bool
) -> Iterator[Path]:
    """The folder of a candidate, removed at the end.

    :param assumed: files that an earlier step would have installed (check mode)
    """
    parent = "/run" if os.access("/run", os.W_OK) else None
    copy = Path(tempfile.mkdtemp(prefix="nginx-candidate-", dir=parent))
    try:
        Candidate(conf_dir, copy, quiet_logs).fill(changes, assumed)
        yield copy
    finally:
        shutil.rmtree(copy)
