"""The launcher: checks before a start, privileges that it drops, sockets that it keeps."""

from __future__ import annotations

import fcntl
import grp
import json
import os
import platform
import pty
import pwd
import signal
import socket
import stat
import subprocess
import termios
from pathlib import Path

import pytest
from supervised import GROUP, USER, Host, each_server, eventually, get

from ansible_collections.wsgi.sites.plugins.module_utils.launcher import keystrokes
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError
from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, slots
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import supervisor
from ansible_collections.wsgi.sites.plugins.module_utils.system import cpus, process


def launch(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start the launcher by hand, without a valid token."""
    return subprocess.run([host.by_hand, host.site.root, *arguments], capture_output=True, text=True, check=False)


def fill(host: Host, slot: str, **changes: object) -> None:
    """Put a release into a slot without starting it."""
    host.release("r1", **changes)
    host.site.slot(slot).mkdir()
    (host.site.slot(slot) / "release").symlink_to("../../releases/r1")


@each_server
def test_the_server_runs_with_the_sites_ids_and_no_privileges(host: Host) -> None:
    host.deploy("r1")
    who = get(host.sock, "/who")
    uid, gid = pwd.getpwnam(USER).pw_uid, grp.getgrnam(GROUP).gr_gid
    assert who["uid"] == [uid] * 3
    assert who["gid"] == [gid] * 3
    assert who["groups"] == [gid]
    assert who["status"]["NoNewPrivs"] == "1"
    assert who["status"]["Umask"] == "0027"
    assert who["core"] == [0, 0]


@each_server
def test_the_server_gets_a_clean_environment(host: Host) -> None:
    host.deploy("r1")
    found = get(host.sock, "/who")["environment"]
    assert "LEAK" not in found
    assert found["HOME"] == str(host.site.shared)
    assert found["PATH"].startswith(f"{host.site.release('r1')}/venv/bin:")
    assert found["LANG"] == "C.UTF-8"


@each_server
def test_the_working_directory_is_the_release_and_not_the_slot(host: Host) -> None:
    host.deploy("r1")
    assert get(host.sock, "/who")["cwd"] == str(host.site.release("r1") / "app")


@each_server
def test_every_environment_value_arrives_unchanged(host: Host) -> None:
    odd = {
        "PERCENT": "100%(x)s",
        "QUOTES": "a\"b'c\\d",
        "LINES": "one\ntwo\r\nthree",
        "UNICODE": "ä\u2028\x85ö",
        "EMPTY": "",
        "EQUALS": "a=b=c",
        "SPACES": "  x  ",
    }
    host.deploy("r1", environment=odd)
    found = get(host.sock, "/who")["environment"]
    assert {name: found[name] for name in odd} == odd


@each_server
def test_the_socket_is_accessible_to_the_site_and_nginx_only(host: Host) -> None:
    slot = host.deploy("r1")
    info = host.site.socket(slot).stat()
    assert stat.S_IMODE(info.st_mode) == 0o660
    assert (pwd.getpwuid(info.st_uid).pw_name, grp.getgrgid(info.st_gid).gr_name) == (USER, "www-data")
    assert host.site.slot(slot).stat().st_uid == 0


def test_a_slot_that_is_not_live_is_refused(bare_host: Host) -> None:
    fill(bare_host, "green")
    done = launch(bare_host, "green")
    assert done.returncode == 77
    assert "shop-green is not the live slot" in done.stderr


def test_a_live_link_to_the_other_slot_is_refused(bare_host: Host) -> None:
    fill(bare_host, "green")
    bare_host.site.live.symlink_to("slots/blue")
    assert launch(bare_host, "green").returncode == 77


def test_another_supervisords_token_is_refused(bare_host: Host) -> None:
    fill(bare_host, "green")
    slots.write_token(bare_host.site, "green", 1)
    assert launch(bare_host, "green").returncode == 77


def test_a_token_of_an_earlier_process_with_this_pid_is_refused(bare_host: Host) -> None:
    fill(bare_host, "green")
    token = {"supervisord_pid": os.getpid(), "supervisord_start": process.find(os.getpid()).start - 1}
    bare_host.site.token("green").write_text(json.dumps(token))
    assert launch(bare_host, "green").returncode == 77


def test_a_refused_slot_is_not_retried(host: Host) -> None:
    fill(host, "green")
    host.site.program("green").write_text((host.site.release("r1") / "program-green.conf").read_text())
    supervisor.Supervisor().add("shop-green")
    eventually(lambda: host.state("green") == "EXITED")
    assert supervisor.Supervisor().info("shop-green")["exitstatus"] == 77
    assert host.site.log.read_text().count("is not the live slot") == 1


def test_a_site_never_runs_as_root(bare_host: Host) -> None:
    fill(bare_host, "blue", user="root", group="root")
    bare_host.site.live.symlink_to("slots/blue")
    done = launch(bare_host, "blue")
    assert done.returncode == 1
    assert "a site never runs as root" in done.stderr


def test_a_broken_environment_is_named_by_line_and_not_shown(bare_host: Host) -> None:
    fill(bare_host, "blue")
    bare_host.site.live.symlink_to("slots/blue")
    with (bare_host.site.release("r1") / "environment").open("a") as stream:
        stream.write("TOKEN=hunter22\n")
    done = launch(bare_host, "blue")
    assert done.returncode == 1
    assert "environment, line 4" in done.stderr
    assert "hunter22" not in done.stderr


def test_a_missing_release_is_named(bare_host: Host) -> None:
    fill(bare_host, "blue")
    bare_host.site.live.symlink_to("slots/blue")
    (bare_host.site.slot("blue") / "release").unlink()
    done = launch(bare_host, "blue")
    assert done.returncode == 1
    assert "slots/blue/release does not lead to a release" in done.stderr


def test_a_port_in_use_leaves_the_slots_socket_alone(bare_host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        fill(bare_host, "blue", listen=[address])
        bare_host.site.live.symlink_to("slots/blue")
        done = launch(bare_host, "blue")
    assert done.returncode == 1
    assert f"cannot listen on {address}: Address already in use" in done.stderr
    assert not bare_host.site.socket("blue").exists()


def test_a_command_runs_as_the_site_in_its_live_release(host: Host) -> None:
    host.deploy("r1")
    done = launch(host, "run", "--", "sh", "-c", "id -un; id -G; pwd; echo $PASSWORD; echo ${LEAK-none}; exit 3")
    gid = str(grp.getgrnam(GROUP).gr_gid)
    assert done.stdout.split() == [USER, gid, str(host.site.release("r1") / "app"), "open-sesame", "none"]
    assert done.returncode == 3


def test_a_command_can_run_in_a_release_that_is_not_live(host: Host) -> None:
    host.deploy("r1")
    host.release("r2")
    assert launch(host, "run", "--release", "r2", "--", "printenv", "SITE_RELEASE").stdout == "r2\n"


def test_a_command_without_a_live_release_is_refused(bare_host: Host) -> None:
    done = launch(bare_host, "run", "--", "true")
    assert done.returncode == 1
    assert "does not lead to a release" in done.stderr


# Attempts of a site's code in root's terminal; the last two are allowed to any program.
TYPIST = """
import ctypes, errno, fcntl, json, os, subprocess, sys, termios
def code(request, argument):
    try:
        fcntl.ioctl(0, request, argument)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
libc = ctypes.CDLL(None, use_errno=True)
def raw(number, request):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), ctypes.c_long(0), ctypes.c_ulong(request), ctypes.c_char_p(b"x"))
    return errno.errorcode.get(ctypes.get_errno(), "done")
number = {"x86_64": 16, "aarch64": 29}[os.uname().machine]
child = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b'x')"
print(json.dumps({
    "uid": os.getuid(),
    "TIOCSTI": code(termios.TIOCSTI, b"x"),
    "upper half": raw(number, 1 << 32 | termios.TIOCSTI),
    "TIOCLINUX": code(termios.TIOCLINUX, b"\\3"),
    "x32": raw(0x40000000 | 514, termios.TIOCSTI),
    "child": subprocess.run([sys.executable, "-c", child], stderr=subprocess.DEVNULL).returncode,
    "TIOCGWINSZ": code(termios.TIOCGWINSZ, bytes(8)),
    "tcgetattr": len(termios.tcgetattr(0)),
}))
"""
# ioctl of i386: push rbx; mov eax, 54; xor ebx, ebx; mov ecx, TIOCSTI; mov edx, address; int 0x80; pop rbx; ret.
INT_80 = """
import ctypes, mmap
low = mmap.mmap(-1, 4096, prot=7, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40)  # MAP_32BIT
address = ctypes.addressof(ctypes.c_char.from_buffer(low))
code = b"\\x53\\xb8" + (54).to_bytes(4, "little") + b"\\x31\\xdb\\xb9" + (0x5412).to_bytes(4, "little")
low.write(code + b"\\xba" + address.to_bytes(4, "little") + b"\\xcd\\x80\\x5b\\xc3")
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
"""


def on_terminal(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command as root's shell does, with a controlling terminal."""
    master, slave = pty.openpty()
    try:
        return subprocess.run(
            list(map(str, command)),
            stdin=slave,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            **options,
        )
    finally:
        os.close(slave)
        os.close(master)


@pytest.fixture
def typing(bare_host: Host) -> Host:
    """A host with a live release and a kernel that allows TIOCSTI."""
    done = on_terminal("/usr/bin/python3", "-c", TYPIST, user=USER, group=GROUP, extra_groups=[])
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the launcher has no filter for this machine")
    free = json.loads(done.stdout)
    if free["TIOCSTI"] != "done":
        pytest.skip("this kernel forbids TIOCSTI by itself (dev.tty.legacy_tiocsti)")
    assert (free["uid"], free["upper half"], free["child"]) == (pwd.getpwnam(USER).pw_uid, "done", 0)
    fill(bare_host, "blue")
    bare_host.site.live.symlink_to("slots/blue")
    return bare_host


def test_a_command_cannot_inject_keystrokes_into_the_shell_of_root(typing: Host) -> None:
    done = on_terminal(typing.by_hand, typing.site.root, "run", "--", "/usr/bin/python3", "-c", TYPIST)
    assert json.loads(done.stdout) == {
        "uid": pwd.getpwnam(USER).pw_uid,
        "TIOCSTI": "EPERM",
        "upper half": "EPERM",
        "TIOCLINUX": "EPERM",
        "x32": "EPERM",
        "child": 1,
        "TIOCGWINSZ": "done",
        "tcgetattr": 7,
    }, done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="int 0x80 is x86's")
def test_a_command_cannot_inject_keystrokes_by_a_32_bit_call(typing: Host) -> None:
    free = on_terminal("/usr/bin/python3", "-c", INT_80, user=USER, group=GROUP, extra_groups=[])
    if free.stdout != "0\n":
        pytest.skip("this kernel has no 32-bit calls")
    done = on_terminal(typing.by_hand, typing.site.root, "run", "--", "/usr/bin/python3", "-c", INT_80)
    assert (done.returncode, done.stdout) == (-signal.SIGSYS, "")


@pytest.mark.parametrize(
    ("terminal", "legacy", "outcome"),
    [(True, "0\n", "warned"), (True, "1\n", "refused"), (True, None, "refused"), (False, "1\n", "silent")],
)
def test_without_seccomp_the_kernel_setting_decides(
    tmp_path: Path, monkeypatch, capsys, terminal: bool, legacy: str | None, outcome: str
) -> None:
    monkeypatch.setattr(keystrokes, "IOCTL", {})
    monkeypatch.setattr(keystrokes, "has_terminal", lambda: terminal)
    monkeypatch.setattr(keystrokes, "LEGACY_TIOCSTI", tmp_path / "legacy_tiocsti")
    if legacy is not None:
        (tmp_path / "legacy_tiocsti").write_text(legacy)
    if outcome == "refused":
        with pytest.raises(LauncherError, match="could push keystrokes into this terminal"):
            keystrokes.forbid_typing()
    else:
        keystrokes.forbid_typing()
        assert ("protected only by dev.tty.legacy_tiocsti" in capsys.readouterr().err) == (outcome == "warned")


@each_server
def test_a_killed_master_is_restarted(host: Host) -> None:
    host.deploy("r1")
    before = get(host.sock)["pid"]
    os.kill(before, signal.SIGKILL)
    eventually(
        lambda: get(host.sock)["pid"] not in (before, 1)
    )  # 1: a worker that has not noticed the end of its master
    assert host.state("blue") in ("STARTING", "RUNNING")


@each_server
def test_the_server_of_a_killed_supervisord_ends_once_its_successor_serves(host: Host) -> None:
    host.deploy("r1")
    orphan = get(host.sock)["pid"]
    host.stop(signal.SIGKILL)
    assert get(host.sock)["pid"] == orphan, "it still serves"
    host.boot()
    eventually(lambda: get(host.sock)["pid"] not in (orphan, 1))
    eventually(lambda: process.is_gone(orphan))


# The lines on workers in a gunicorn.conf.py of an older version.
OLD_SETTINGS = """
import os
cpus = int(os.environ.get("SITE_CPUS") or os.cpu_count() or 1)
workers = {workers}
threads = 1
control_socket_disable = True
"""


@pytest.mark.parametrize(
    ("workers", "settings", "manifest"),
    [
        (2 * cpus.usable() + 1, "2 * cpus + 1", {}),
        (2, 'int(os.environ.get("SITE_WORKERS_FIRST") or 1)', {"workers": 3, "workers_min": 2, "threads": 1}),
    ],
)
def test_a_release_of_an_older_version_starts_again_after_a_newer_one(
    host: Host, workers: int, settings: str, manifest: dict
) -> None:
    folder = host.site.release("r1")
    command = ["/usr/bin/python3", "-m", "gunicorn", "--config", str(folder / "gunicorn.conf.py"), "wsgi:app"]
    host.release("r1", command=command, **manifest)
    (folder / "gunicorn.conf.py").write_text(OLD_SETTINGS.format(workers=settings))
    host.deploy("r2", workers=1, threads=4)
    slot = deployment.start(host.site, "r1")["slot"]
    deployment.switch(host.site, slot, "r1", drain=0)
    found = get(host.sock)
    assert found["release"] == "r1"
    eventually(lambda: len(process.children(found["pid"])) == workers)
