"""A site's log is rotated by size without loss while both slots write to it."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from nginx_rig import evaluate
from supervised import Host, eventually

from ansible_collections.wsgi.sites.plugins.module_utils.site import logs

pytest_plugins = ["supervised"]

LOGROTATE = shutil.which("logrotate", path=os.environ["PATH"] + ":/usr/sbin")
LINES = 300
SITE = {
    "name": "shop", "user": "nogroup", "root": "/srv/shop", "start_retries": 1, "graceful_timeout": 1,
    "upstream": {"servers": []},
}  # fmt: skip


def rendered(template: str, **variables: str) -> str:
    return evaluate(
        f"lookup('wsgi.sites.template', '{template}', site=site, slot=slot | default(''))",
        {"site": SITE, "site_name": "shop", **variables},
    )


def every_line(logs: Path) -> list[str]:
    """The lines of the log and of all rotated files."""
    files = [path for path in logs.iterdir() if path.name.startswith("server.log")]
    texts = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in files]
    return [line for text in texts for line in text.decode().splitlines()]


class Log:
    """Both slots' programs by the template, writing continuously, and the site's logrotate file."""

    def __init__(self, host: Host) -> None:
        self.host, self.folder = host, host.site.logs
        for slot in ("blue", "green"):
            chat = f"for i in $(seq {LINES}); do echo {slot}-$i {'.' * 60}; sleep 0.01; done; sleep 600"
            program = self.here(rendered("supervisor/program.conf.j2", slot=slot))
            program = re.sub(r"command = .*", f"command = /bin/sh -c '{chat}'", program)
            (host.folder / f"conf.d/shop-{slot}.conf").write_text(program)
        self.rules = host.folder / "logrotate.conf"
        rules = self.here(rendered("site/logrotate.j2"))
        assert "maxsize 100M" in rules
        # An operator may configure names by date.
        self.rules.write_text("dateext\n" + rules.replace("100M", "4k"))
        self.rules.chmod(0o644)
        (self.folder / "server.log").touch()

    def here(self, text: str) -> str:
        moved = text.replace("/var/log/", f"{self.host.folder}/log/").replace("/run/nginx.pid", "/nowhere")
        return moved.replace("/run/supervisord.pid", f"{self.host.folder}/supervisord.pid")

    def rotate(self) -> None:
        state = self.host.folder / "logrotate.state"
        done = subprocess.run([LOGROTATE, "--state", state, self.rules], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def said(self, *slots: str) -> bool:
        return {f"{slot}-{LINES}" for slot in slots} <= {line.split()[0] for line in every_line(self.folder)}


@pytest.mark.skipif(LOGROTATE is None, reason="needs logrotate (apt install logrotate)")
def test_a_log_is_rotated_by_size_without_loss_from_either_slot(bare_host: Host):
    log = Log(bare_host)
    bare_host.boot()
    eventually(lambda: (log.folder / "server.log").stat().st_size > 8192)
    log.rotate()
    eventually(lambda: (log.folder / "server.log").stat().st_size > 8192)
    log.rotate()
    status = (log.folder / "server.log").stat()
    assert status.st_mode & 0o777 == 0o640
    eventually(lambda: log.said("blue", "green"))
    time.sleep(0.1)
    names = {path.name for path in log.folder.iterdir()}
    assert names == {"server.log", "server.log.1", "server.log.2.gz"}
    wanted = [f"{slot}-{number}" for slot in ("blue", "green") for number in range(1, LINES + 1)]
    assert sorted(line.split()[0] for line in every_line(log.folder)) == sorted(wanted)


def test_logrotate_runs_every_hour():
    assert "OnCalendar=hourly" in rendered("supervisor/rotation.conf.j2")
    line = rendered("supervisor/rotation.cron.j2").splitlines()[-1]
    minute, *others, user, program, _config = line.split()
    assert minute.isdigit() and others == ["*"] * 4 and (user, program) == ("root", "/usr/sbin/logrotate")


def test_the_exception_is_found_above_many_later_lines(tmp_path: Path) -> None:
    log, environment = tmp_path / "server.log", tmp_path / "environment"
    environment.write_text('KEY="open-sesame"\n')
    log.write_text("of another day\n")
    since = logs.position(log)
    aftermath = "".join(f"  line {number} of gunicorn's own traceback\n" for number in range(logs.LAST))
    with log.open("a") as lines:
        lines.write("Traceback (most recent call last):\n" + 2 * "ImportError: no open-sesame\n" + aftermath)
    said = logs.last_words(log, since, environment).splitlines()[1:]
    assert said[:2] == ["  | ImportError: no ********", "  |   line 0 of gunicorn's own traceback"]
    assert len(said) == logs.LAST + 1
