"""Compromised hosts: a stand-in for a host's Python that records its input and returns chosen answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STAND_IN = """#!/usr/bin/python3
import gzip, json, pathlib, re, sys
folder = pathlib.Path(__file__).resolve().parent
heard = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
for word in sys.argv[1:]:
    place = pathlib.Path(word)
    heard += word.encode() + b"\\n" + (place.read_bytes() if place.is_file() else b"")
for word in re.findall(rb'"payload": "([^"]+)"', heard):
    heard += gzip.decompress(pathlib.Path(word.decode()).read_bytes())
with (folder / "heard").open("ab") as notes:
    notes.write(heard + b"\\n--- end ---\\n")
names = re.findall(rb"module_fqn='([\\w.]+)'", heard)
name = names[0].decode().rpartition(".")[2] if names else ""
answers = json.loads((folder / "answers.json").read_text())
print(json.dumps(answers.get(name, answers.get("*", {}))))
"""

# The facts of a Debian 13 host.
INSPECTED: dict[str, Any] = {
    "changed": False,
    "collisions": [],
    "ansible_facts": {
        "ansible_distribution_release": "trixie",
        "ansible_service_mgr": "systemd",
        "ansible_sites_system": "Debian GNU/Linux 13 (trixie)",
        "ansible_sites_ipv6": True,
    },
}


class Liar:
    """One compromised host with a folder of its own."""

    def __init__(self, folder: Path, answers: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.python = folder, folder / "python3"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)
        self.answers(answers)

    def answers(self, answers: Mapping[str, Any]) -> None:
        """Its answers from now on, by module name; ``*`` is for all others."""
        (self.folder / "answers.json").write_text(json.dumps(answers))

    @property
    def heard(self) -> bytes:
        """Everything sent to it: modules with their arguments, and payloads of releases."""
        notes = self.folder / "heard"
        return notes.read_bytes() if notes.exists() else b""

    @property
    def modules(self) -> list[str]:
        """The modules that it was asked to run."""
        return [name.decode() for name in re.findall(rb"module_fqn='[\w.]*?(\w+)'", self.heard)]
