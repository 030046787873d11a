"""Talk to the host's supervisord about one program, and never touch another one."""

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
# supervisor is the distribution's package: only the system's Python can import it.
PYTHON = "/usr/bin/python3"

CANT_REREAD = 92
BAD_NAME = 10
ALREADY_STARTED = 60
NOT_RUNNING = 70
ALREADY_ADDED = 90
STILL_RUNNING = 91

# Runs in the system's Python. Reads the main configuration with chosen program files in its [include], exactly as
# supervisord reads them, and prints the error of each set (null: it reads well) and the names of its programs.
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
    """The running supervisord, with what a release needs of it."""

    def __init__(self) -> None:
        super().__init__(SOCKET)

    def info(self, program: str) -> dict | None:
        """State of a program (supervisor's getProcessInfo), or None if supervisord does not know it."""
        try:
            return self.call("getProcessInfo", program)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                return None
            raise

    def infos(self) -> list[dict]:
        """State of every process; those of one program have its name as their `group`."""
        return self.call("getAllProcessInfo")

    def ask_to_stop(self, program: str) -> None:
        """Send a program its stop signal, and do not wait for its end."""
        try:
            self.call("stopProcessGroup", program, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:
                raise SupervisorError(f"supervisord does not stop {program}: {fault.faultString}") from fault

    def start(self, program: str) -> None:
        """Start a program that supervisord knows, and do not wait for it."""
        try:
            self.call("startProcess", program, False)
        except xmlrpc.client.Fault as fault:
            raise SupervisorError(f"supervisord does not start {program}: {fault.faultString}") from fault

    def add(self, program: str) -> None:
        """Read the program files again and start this one program.

        A reread changes nothing that runs; only `add` and `remove` do, and they name one program.
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
                    f"supervisord does not see {program} in its program files; does [include] in {CONFIG} "
                    "still name conf.d/*.conf?"
                ) from fault
            # Somebody's `supervisorctl update` may have been quicker with the same file.
            if fault.faultCode != ALREADY_ADDED:
                raise SupervisorError(f"supervisord does not take {program}: {fault.faultString}") from fault

    def remove(self, program: str, patience: float = 60) -> bool:
        """Stop one program and forget it; True if there was one.

        supervisord is not asked to wait: it would notice the end at its next look, once a second, and tell us at the
        one after that. Each question makes it look.

        :param patience: how much longer to wait for a program that is not ending: one that is, supervisord itself
            kills after its stopwaitsecs
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
                    raise SupervisorError(f"supervisord does not let go of {program}: {fault.faultString}") from fault
                time.sleep(0.05)
                continue
            return True

    def _of(self, program: str) -> list[dict]:
        return [info for info in self.call("getAllProcessInfo") if info["group"] == program]

    def stop(self, program: str, patience: float = 60) -> None:
        """Stop one program that supervisord goes on knowing, so that the next boot, or `resume`, starts it again."""
        deadline, exited = time.monotonic() + patience, 0
        while (info := self.info(program)) is not None and info["statename"] not in ("STOPPED", "FATAL", "UNKNOWN"):
            if info["statename"] == "STOPPING":
                # As in `remove`: to be asked again is what makes supervisord look.
                if _ends(info):
                    deadline = time.monotonic() + patience
                if time.monotonic() > deadline:
                    raise SupervisorError(f"supervisord does not see the end of {program}")
                time.sleep(0.05)
                continue
            if info["statename"] == "EXITED":
                # For a second supervisord may still think of starting it again.
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
        """Start a program that was stopped; one that runs goes on."""
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
        """Make supervisord forget what is no longer on disk. A neighbour's broken file is no reason to fail here."""
        try:
            self.call("reloadConfig")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != CANT_REREAD:
                raise

    def _why_no_reread(self, words: str) -> str:
        culprits = broken_files(program_files(), self.pid())
        if not culprits:
            return f"supervisord cannot read its configuration: {words}"
        return neighbours_message(culprits)


def _ends(info: dict) -> bool:
    """Whether a program is ending and may still be: its user can keep its end from supervisord (by ptrace)."""
    return info["statename"] == "STOPPING" and not process.is_gone(info["pid"])


def neighbours_message(culprits: dict[Path, str]) -> str:
    """Names the files that keep supervisord from reading any program."""
    listed = "; ".join(f"{path}: {' '.join(error.split())}" for path, error in culprits.items())
    return (
        f"supervisord reads all its program files or none, and cannot read this one: {listed}. "
        "Correct it or move it away, and run again; nothing was changed"
    )


def program_files() -> list[Path]:
    """The files that Debian's [include] names, in supervisor's order."""
    return sorted((CONFIG.parent / "conf.d").glob("*.conf"))


def read_sets(sets: list[list[Path]], supervisord: int | None = None) -> list[dict]:
    """Read the main configuration with each of these sets of program files, by supervisor's own parser.

    :param supervisord: its PID; its environment is what `%(ENV_X)s` in a file stands for
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
    """Which of these program files keep the whole from being read, each with the parser's words."""
    whole, *alone = read_sets([files, *([path] for path in files)], supervisord)
    if whole["error"] is None:
        return {}
    # Alone broken may also mean: a [group:] whose programs stand in another file. So ask again without each.
    suspects = {path: result["error"] for path, result in zip(files, alone, strict=True) if result["error"]}
    without = read_sets([[other for other in files if other != path] for path in suspects], supervisord)
    sure = {path: error for (path, error), rest in zip(suspects.items(), without, strict=True) if not rest["error"]}
    return sure or suspects


def check_program(program: str, candidate: Path, replaces: Path, supervisord: int | None = None) -> None:
    """Refuse a program file before it is placed: broken by itself, or shut out by a neighbour's broken file.

    :param program: the one program that the file must define
    :param candidate: the file as it lies in the release
    :param replaces: where it is going to be; what is there now does not count
    """
    check_programs({program: (candidate, replaces)}, supervisord)


def check_programs(programs: Mapping[str, tuple[Path, Path]], supervisord: int | None = None) -> None:
    """The same for several at once.

    :param programs: program → the file as it lies in the release, and where it is going to be
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
            raise SupervisorError(neighbours_message(culprits))
        names = ", ".join(map(str, candidates))
        raise SupervisorError(f"supervisor cannot read {names} beside the other program files: {whole['error']}")
