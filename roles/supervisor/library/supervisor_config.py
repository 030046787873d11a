#!/usr/bin/python3
"""supervisord's own configuration, laid down without touching the programs that run under it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: supervisor_config
short_description: Lay down supervisord's configuration, and restart it only if that harms nobody
description:
  - The text is parsed by supervisor itself before it is placed. A file that is neither ours nor the distribution's
    unmodified one is refused.
  - supervisord reads its own settings only when it starts, and a restart stops every program on the host. So it is
    restarted only while no program is known to it, or when C(restart) says so; otherwise the result says C(pending).
options:
  content:
    description: The whole of C(/etc/supervisor/supervisord.conf).
    type: str
    required: true
  restart:
    description: Restart supervisord, and with it every program, if it has not read this text yet.
    type: bool
    default: false
"""

RETURN = r"""
pending:
  description: Whether supervisord still runs with what an older text said.
  type: bool
  returned: always
"""

CONFIG = Path("/etc/supervisor/supervisord.conf")
STAMP = Path("/run/sites/supervisord.json")
MARK = "edits here are lost."
PARSE = "import sys; from supervisor.options import ServerOptions; ServerOptions().realize(['-c', sys.argv[1]])"


def is_foreign(text: str) -> bool:
    """Whether somebody else wrote this file: not this bundle, nor the distribution's package."""
    if MARK in text.partition("\n")[0]:
        return False
    query = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Conffiles}", "supervisor"], capture_output=True, text=True, check=False
    )
    stock = {line.split()[0]: line.split()[1] for line in query.stdout.splitlines() if len(line.split()) > 1}
    return stock.get(str(CONFIG)) != hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - dpkg's own choice of digest


def parse(module: AnsibleModule, text: str) -> None:
    # The sections that name running things stay; the programs of other files are not this module's business.
    own = text.partition("[include]")[0]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as candidate:
        candidate.write(own)
        candidate.flush()
        status, _out, errors = module.run_command(["/usr/bin/python3", "-c", PARSE, candidate.name])
    if status:
        module.fail_json(msg=f"supervisor refuses its new configuration: {(errors or _out).strip().splitlines()[-1]}\nMend the override in templates/.")


def ask(module: AnsibleModule, *words: str) -> str | None:
    """What supervisorctl answers, or None when nobody runs."""
    status, out, _errors = module.run_command(["supervisorctl", *words])
    return None if status == 4 or "refused" in out or "no such file" in out else out.strip()


def started(pid: str) -> str:
    """When this process started, in ticks since boot (field 22 of ``/proc/PID/stat``, see proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def running(module: AnsibleModule) -> dict | None:
    pid = ask(module, "pid")
    if not pid or not pid.isdigit():
        return None
    try:
        return {"pid": pid, "start": started(pid)}
    except OSError:
        return None


def stamped() -> dict:
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def loaded_digest(daemon: dict) -> str | None:
    """The digest of the text that this very process has read, if that is known."""
    stamp = stamped()
    if {key: stamp.get(key) for key in ("pid", "start")} == daemon:
        return stamp.get("digest")
    # No word from an earlier run: a process that started well after the file was written has read it.
    boot = float(next(line.split()[1] for line in Path("/proc/stat").read_text().splitlines() if line[:5] == "btime"))
    began = boot + int(daemon["start"]) / os.sysconf("SC_CLK_TCK")
    if began > CONFIG.stat().st_mtime + 1:
        return hashlib.sha256(CONFIG.read_bytes()).hexdigest()
    return None


def stamp(daemon: dict, digest: str) -> None:
    STAMP.parent.mkdir(mode=0o755, exist_ok=True)
    temporary = STAMP.with_suffix(".new")
    temporary.write_text(json.dumps({**daemon, "digest": digest}), encoding="utf-8")
    os.replace(temporary, STAMP)


def restart(module: AnsibleModule, before: dict) -> dict:
    ask(module, "reload")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        # `reload` keeps the process and re-reads everything; it answers again once that is done.
        daemon = running(module)
        if daemon and ask(module, "version"):
            return daemon
        time.sleep(0.1)
    module.fail_json(msg=f"supervisord (pid {before['pid']}) did not come back within 30 s. See /var/log/supervisor/supervisord.log")


def main() -> None:
    module = AnsibleModule(
        argument_spec={"content": {"type": "str", "required": True}, "restart": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    text = module.params["content"]
    try:
        old = CONFIG.read_text(encoding="utf-8")
    except FileNotFoundError:
        old = None
    if old is not None and is_foreign(old):
        module.fail_json(
            msg=f"{CONFIG} was written by somebody else, so it stays. Move what it says into "
            f"/etc/supervisor/conf.d/ or templates/supervisord.conf.j2 and remove the file, then run again."
        )
    changed = old != text
    diff = {"before": old or "", "after": text, "before_header": str(CONFIG), "after_header": str(CONFIG)}
    if module.check_mode:
        module.exit_json(changed=changed, pending=False, diff=diff)

    if changed:
        parse(module, text)
        CONFIG.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = CONFIG.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        os.replace(temporary, CONFIG)

    daemon = running(module)
    digest = hashlib.sha256(text.encode()).hexdigest()
    pending = daemon is not None and loaded_digest(daemon) != digest
    if pending and (module.params["restart"] or not ask(module, "status")):
        stamp(restart(module, daemon), digest)
        changed, pending = True, False
    if pending:
        module.warn(
            "supervisord still runs with its former configuration: a restart stops every program on this host for "
            "seconds, so it waits for you. Run again with -e supervisor_restart=true when that suits."
        )
    module.exit_json(changed=changed, pending=pending, diff=diff)


if __name__ == "__main__":
    main()
