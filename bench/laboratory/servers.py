"""Real servers, as the collection deploys them and as started by hand."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from measuring.commands import BenchError
from nginx_rig import evaluate, free_port, role_variables
from supervised import GROUP, USER, Host, eventually, server_files, worker_settings

from ansible_collections.wsgi.sites.plugins.module_utils.releases import public_files
from laboratory.bench import WORKERS, Bench, folder, write_site

Keys = Mapping[str, Any]
WriteApp = Callable[[Path], dict[str, str]]
LOG = "server.log"
# gunicorn uses the parser in C wherever it is installed; a site has it only if its lock names it.
SETTINGS = {"http_parser": "python"}
RUN_UWSGI = ("-c", "import pyuwsgi; pyuwsgi.run()")


def split(keys: Keys) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys of the site, and the `settings` of gunicorn for which there is no key."""
    own = dict(keys)
    return own, SETTINGS | own.pop("settings", {})


def site_entry(root: Path, keys: Keys) -> dict[str, Any]:
    """A site's entry in the site config."""
    own, _ = split(keys)
    return {"server_names": ["127.0.0.1"], "source": {"path": "app"}, "root": str(root), **own}


def release(bench: Bench, host: Host, keys: Keys, release_id: str, write: WriteApp = write_site) -> None:
    """Write a release with the settings that the collection renders for these keys."""
    site = site_entry(host.site.root, keys)
    uwsgi = site.get("server") == "uwsgi"
    place = host.site.release(release_id)
    run = [*RUN_UWSGI, "--ini", place / "uwsgi.ini"]
    if not uwsgi:
        run = ["-m", "gunicorn", "--config", place / "gunicorn.conf.py", "wsgi:app"]
    backlog = evaluate("site_entry.backlog", role_variables({"shop": site}, site_name="shop"))
    changes = {**worker_settings(**site), "backlog": backlog, "public": ["app/static"]}
    changes |= {"sockets": ["sock", "uwsgi.sock"]} if uwsgi else {}
    host.release(
        release_id,
        server=site.get("server", "gunicorn"),
        command=[bench.python, *map(str, run)],
        environment={},
        **changes,
    )
    for name, text in server_files(**site).items():
        (place / name).write_text(text)
    if not uwsgi:
        with (place / "gunicorn.conf.py").open("a") as lines:
            lines.writelines(f"{name} = {value!r}\n" for name, value in split(keys)[1].items())
    environment = write(place / "app")
    with (place / "environment").open("a") as lines:
        lines.writelines(f'{name}="{value}"\n' for name, value in environment.items())


@contextlib.contextmanager
def deployed(bench: Bench, keys: Keys, write: WriteApp = write_site) -> Iterator[Host]:
    """A site as the collection deploys it, started by the launcher; nginx reaches it by ROOT/live."""
    with folder("host") as place:
        host = Host(place, bench.library)
        release(bench, host, keys, "r1", write)
        slot = host.site.slot("blue")
        slot.mkdir()
        (slot / "release").symlink_to("../../releases/r1")
        public_files.publish(host.site, "blue")
        host.site.live.symlink_to("slots/blue")
        with running([str(host.launcher), str(host.site.root), "blue"], place) as host.process:
            yield host


@contextlib.contextmanager
def standalone(bench: Bench, keys: Keys, http_port: int, uwsgi_port: int) -> Iterator[tuple[int, int]]:
    """The same server by itself on TCP, with the usual settings only.

    Yields its port for HTTP, and the one for nginx, which is another for the uwsgi protocol.
    """
    own, settings = split(keys)
    workers = WORKERS if own.get("workers", "auto") == "auto" else own["workers"]
    threads = own.get("threads", 4)
    http, uwsgi = (f"127.0.0.1:{port}" for port in (http_port, uwsgi_port))
    if own.get("server") == "uwsgi":
        words = [*RUN_UWSGI, f"--http-socket={http}", f"--uwsgi-socket={uwsgi}", "--master", "--need-app"]
        words += [f"--processes={workers}", f"--threads={threads}", "--enable-threads", "--disable-logging"]
        words += ["--die-on-term", "--wsgi-file=wsgi.py", "--callable=app", "--listen=100"]
        # uWSGI closes each connection; clients without this header count that as a failure.
        words += ["--add-header=Connection: close"]
    else:
        uwsgi_port = http_port
        kind = own.get("worker_class", "gthread")
        words = ["-m", "gunicorn", f"--bind={http}", f"--workers={workers}", f"--worker-class={kind}"]
        words += [f"--threads={threads}"] if kind == "gthread" else []
        words += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        words += ["--no-control-socket", "wsgi:app"]
    with by_hand(bench, words):
        yield http_port, uwsgi_port


@contextlib.contextmanager
def development(bench: Bench, **options: Any) -> Iterator[int]:
    """Flask's own server."""
    port = free_port()
    start = f"from wsgi import app; app.run(port={port}, **{options!r})"
    with by_hand(bench, ["-c", start]):
        yield port


@contextlib.contextmanager
def by_hand(bench: Bench, words: list[str]) -> Iterator[None]:
    """A Python program in the folder of the measured site, as a user other than root."""
    with folder("bare") as place:
        (place / "app").mkdir()
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(bench.library), "HOME": str(place)}
        environment |= write_site(place / "app")
        how = {"cwd": place / "app", "env": environment, "user": USER, "group": GROUP, "extra_groups": []}
        with running([bench.python, *words], place, **how):
            yield


@contextlib.contextmanager
def running(words: list[str], place: Path, **how: Any) -> Iterator[subprocess.Popen]:
    """A server, which is killed with all its processes afterwards."""
    with (place / LOG).open("wb") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **how
        )
        try:
            yield process
        finally:
            ended = process.poll() is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if ended:  # the cause of any other failure
                raise BenchError(f"a server has stopped:\n{(place / LOG).read_text()[-2000:]}")


def wait_for_answer(url: str) -> None:
    """Wait until a server answers."""
    # Without a proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        with opener.open(url, timeout=10) as answer:
            return answer.status == 200

    wait_until(answers, f"{url} does not answer")


def wait_until(condition: Callable[[], object], failure: str) -> None:
    """Wait until a condition is true."""
    try:
        eventually(condition, 60)
    except (OSError, AssertionError) as error:
        raise BenchError(f"{failure}: {error}") from error
