"""Control of single supervisor programs, and tests of program files."""

from __future__ import annotations

import json
import os
import subprocess
import time
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.supervisord import SOCKET, Supervisord, SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible, visible_all

CONFIG = Path("/etc/supervisor/supervisord.conf")
# supervisor is a package of the distribution, which only the system's Python can import.
PYTHON = "/usr/bin/python3"

CANT_REREAD = 92
BAD_NAME = 10
ALREADY_STARTED = 60
NOT_RUNNING = 70
ALREADY_ADDED = 90
STILL_RUNNING = 91

# Runs in the system's Python. Reads the main configuration with the given program files in its [include], exactly as
# supervisord does, and prints for each set the error (null: none) and the names of its programs.
READER = r"""
import io, json, os, sys
from supervisor.options import ServerOptions, UnhosedConfigParser

config, sets = json.load(sys.stdin)
here = os.path.dirname(config)

def read(files):
    options = ServerOptions()
    options.configfile, options.here = config, here
    main = UnhosedConfigParser()
    main.expansions = options.environ_expansions
    try:
        with open(config) as stream:
            main.read_file(stream)
        main.remove_section("include")
        text = io.StringIO()
        main.write(text)
        for name in files:
            pattern = "".join("?" if c.isspace() else "[" + c + "]" if c in "*?[" else c for c in name)
            text.write(("[include]\nfiles =" if name == files[0] else "") + " " + pattern.replace("%", "%%"))
        text.write("\n")
        text.seek(0)
        text.name = config
        groups = options.read_config(text).process_group_configs
    except Exception as error:
        return {"error": str(error) or type(error).__name__, "programs": []}
    return {"error": None, "programs": sorted(group.name for group in groups)}

json.dump([read(files) for files in sets], sys.stdout)
"""


class Supervisor(Supervisord):
    """The running supervisord, with the operations on single programs."""

    def __init__(self) -> None:
        super().__init__(SOCKET)

    def info(self, program: str) -> dict | None:
        """State of a program (supervisor's getProcessInfo), or None if supervisord has no such program."""
        try:
            return self.call("getProcessInfo", program)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                return None
            raise

    def infos(self) -> list[dict]:
        """State of every process; its `group` is the name of its program."""
        return self.call("getAllProcessInfo")

    def ask_to_stop(self, program: str) -> None:
        """Send a program its stop signal without waiting for its end."""
        try:
            self.call("stopProcessGroup", program, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:
                raise SupervisorError(f"supervisord does not stop {program}: {fault.faultString}") from fault

    def start(self, program: str) -> None:
        """Start a loaded program without waiting for it."""
        try:
            self.call("startProcess", program, False)
        except xmlrpc.client.Fault as fault:
            raise SupervisorError(f"supervisord does not start {program}: {fault.faultString}") from fault

    def add(self, program: str) -> None:
        """Reread the program files and start this one program.

        A reread affects no running program; only `add` and `remove` do, for the program that they name.
        """
        try:
            self.call("reloadConfig")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == CANT_REREAD:
                raise SupervisorError(self._why_no_reread(fault.faultString)) from fault
            raise
        try:
            self.call("addProcessGroup", program)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                raise SupervisorError(
                    f"supervisord does not find {program} in its program files; does [include] in {CONFIG} "
                    "still name conf.d/*.conf?"
                ) from fault
            # A concurrent `supervisorctl update` may have added the same file.
            if fault.faultCode != ALREADY_ADDED:
                raise SupervisorError(f"supervisord rejects {program}: {fault.faultString}") from fault

    def remove(self, program: str, patience: float = 60) -> bool:
        """Stop one program and unload it; returns whether there was one.

        Polls instead of letting supervisord wait: that checks only once a second and answers one check later. Each call
        triggers a check.

        :param patience: seconds to wait for a program that is not stopping; one that is stopping is killed by
        supervisord after its stopwaitsecs
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                self.call("stopProcessGroup", program, False)
                self.call("removeProcessGroup", program)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == BAD_NAME:
                    return False
                if any(map(_ends, self._of(program))):
                    deadline = time.monotonic() + patience
                if fault.faultCode not in (STILL_RUNNING, NOT_RUNNING) or time.monotonic() > deadline:
                    raise SupervisorError(f"supervisord does not unload {program}: {fault.faultString}") from fault
                time.sleep(0.05)
                continue
            return True

    def _of(self, program: str) -> list[dict]:
        return [info for info in self.call("getAllProcessInfo") if info["group"] == program]

    def stop(self, program: str, patience: float = 60) -> None:
        """Stop one program without unloading it, so that the next boot or `resume` starts it again."""
        deadline, exited = time.monotonic() + patience, 0
        while (info := self.info(program)) is not None and info["statename"] not in ("STOPPED", "FATAL", "UNKNOWN"):
            if info["statename"] == "STOPPING":
                # As in `remove`: each call makes supervisord check.
                if _ends(info):
                    deadline = time.monotonic() + patience
                if time.monotonic() > deadline:
                    raise SupervisorError(f"supervisord does not notice the end of {program}")
                time.sleep(0.05)
                continue
            if info["statename"] == "EXITED":
                # For one second supervisord may still restart it.
                exited += 1
                if exited > 15:
                    return
            try:
                self.call("stopProcess", program, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode not in (BAD_NAME, NOT_RUNNING) or time.monotonic() > deadline:
                    raise SupervisorError(f"supervisord does not stop {program}: {fault.faultString}") from fault
                time.sleep(0.1)

    def resume(self, program: str, patience: float = 60) -> None:
        """Start a stopped program; a running one is not affected."""
        deadline = time.monotonic() + patience
        while (info := self.info(program)) is not None and info["statename"] == "STOPPING":
            if time.monotonic() > deadline:
                raise SupervisorError(f"{program} does not stop, so it cannot be started again")
            time.sleep(0.1)
        if info is None:
            self.add(program)
            return
        try:
            self.call("startProcess", program, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_STARTED:
                raise SupervisorError(f"supervisord does not start {program}: {fault.faultString}") from fault

    def reread(self) -> None:
        """Reread, so that removed files are unloaded. A broken file of another program is no error here."""
        try:
            self.call("reloadConfig")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != CANT_REREAD:
                raise

    def _why_no_reread(self, words: str) -> str:
        culprits = broken_files(program_files(), self.pid())
        if not culprits:
            return f"supervisord cannot read its configuration: {words}"
        return broken_files_message(culprits)


def _ends(info: dict) -> bool:
    """Whether a program is stopping within its timeout; its user can hide its end from supervisord (by ptrace)."""
    return info["statename"] == "STOPPING" and not process.is_gone(info["pid"])


def broken_files_message(culprits: dict[Path, str]) -> str:
    """The error for files that prevent supervisord from reading any program file."""
    listed = "; ".join(f"{path}: {' '.join(error.split())}" for path, error in culprits.items())
    return (
        f"supervisord reads all its program files or none, and cannot read: {listed}. "
        "Correct it or move it away, and run again; nothing was changed"
    )


def program_files() -> list[Path]:
    """The files that Debian's [include] names, in supervisor's order."""
    return sorted((CONFIG.parent / "conf.d").glob("*.conf"))


def read_sets(sets: list[list[Path]], supervisord: int | None = None) -> list[dict]:
    """Parse the main configuration with each of these sets of program files, by supervisor's own parser.

    :param supervisord: its PID; `%(ENV_X)s` in a file is expanded from its environment
    :returns: a dict ``{"error": str | None, "programs": [name…]}`` for each set
    """
    environment = process.environment(supervisord) if supervisord else {}
    answer = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", READER],
        input=json.dumps([str(CONFIG), [[str(path) for path in files] for files in sets]]),
        capture_output=True,
        text=True,
        cwd="/",
        env=environment or dict(os.environ),
        check=False,
    )
    if answer.returncode != 0:
        last = visible((answer.stderr.strip().splitlines() or ["no words"])[-1])
        raise SupervisorError(
            f"supervisor's own parser does not run in {PYTHON} ({last}); is the distribution's "
            "package supervisor installed?"
        )
    return visible_all(json.loads(answer.stdout))


def broken_files(files: list[Path], supervisord: int | None = None) -> dict[Path, str]:
    """The program files that make the whole unreadable, each with the parser's error."""
    whole, *alone = read_sets([files, *([path] for path in files)], supervisord)
    if whole["error"] is None:
        return {}
    # A file that fails alone may be a [group:] whose programs are in another file, so the set is tested without each.
    suspects = {path: result["error"] for path, result in zip(files, alone, strict=True) if result["error"]}
    without = read_sets([[other for other in files if other != path] for path in suspects], supervisord)
    sure = {path: error for (path, error), rest in zip(suspects.items(), without, strict=True) if not rest["error"]}
    return sure or suspects


def check_program(program: str, candidate: Path, replaces: Path, supervisord: int | None = None) -> None:
    """Refuse a program file before it is installed if it is broken, or if a broken file of others blocks it.

    :param program: the one program that the file must define
    :param candidate: the file in the release
    :param replaces: its target path, whose present content is ignored
    """
    check_programs({program: (candidate, replaces)}, supervisord)


def check_programs(programs: Mapping[str, tuple[Path, Path]], supervisord: int | None = None) -> None:
    """The same for several at once.

    :param programs: program → the file in the release, and its target path
    """
    if not programs:
        return
    places = {replaces for _, replaces in programs.values()}
    others = [path for path in program_files() if path not in places]
    candidates = [candidate for candidate, _ in programs.values()]
    whole, *alone = read_sets([[*others, *candidates], *([path] for path in candidates)], supervisord)
    for program, candidate, own in zip(programs, candidates, alone, strict=True):
        if own["error"]:
            raise SupervisorError(
                f"supervisor cannot read the program file {candidate}: {own['error']}. Correct the "
                "template that its first line names, and run again; nothing was changed"
            )
        if own["programs"] != [program]:
            raise SupervisorError(
                f"the program file {candidate} must define [program:{program}] and nothing else, but it defines "
                f"{', '.join(own['programs']) or 'no program'}; correct the template that its first line names"
            )
    if whole["error"]:
        culprits = broken_files(others, supervisord)
        if culprits:
            raise SupervisorError(broken_files_message(culprits))
        names = ", ".join(map(str, candidates))
        raise SupervisorError(f"supervisor cannot read {names} beside the other program files: {whole['error']}")
