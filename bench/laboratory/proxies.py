"""nginx as the collection configures it and as most tutorials do, each on loopback with files of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
from measuring.commands import ROOT, BenchError
from nginx_rig import NGINX, Rig, free_ports, private_nginx, render
from supervised import Host

from laboratory.bench import Bench
from laboratory.servers import Keys, deployed, site_entry, standalone, wait_for_answer

BASELINE = ROOT / "bench" / "baseline" / "templates"


@contextlib.contextmanager
def nginx(files: Mapping[str, str], links: Mapping[str, str], logs: Mapping[str, Keys]) -> Iterator[Rig]:
    """A running nginx with these files."""
    with contextlib.contextmanager(private_nginx)() as rig:
        for name in logs:
            (rig.folder / "var/log" / name).mkdir(parents=True)
        rig.install(files, links)
        if said := rig.test():
            raise BenchError(f"nginx refuses its configuration: {said}")
        rig.start()
        yield rig


@contextlib.contextmanager
def collection_nginx(hosts: Mapping[str, tuple[Host, Keys]], **variables: Any) -> Iterator[dict[str, str]]:
    """The collection's nginx for deployed sites; yields the URL of each.

    :param variables: role variables that differ from their defaults
    """
    ports = dict(zip(hosts, free_ports(len(hosts)), strict=True))
    sites = {
        name: {**site_entry(host.site.root, keys), "http_port": ports[name]} for name, (host, keys) in hosts.items()
    }
    for each in sites.values():
        each["aliases"] = {"/static/": "app/static"}
    with nginx(*render(sites, **variables), sites):
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


@contextlib.contextmanager
def tutorial_nginx(servers: Mapping[str, tuple[tuple[int, int], Keys]], files: Path) -> Iterator[dict[str, str]]:
    """Debian's nginx with the tutorials' server block for each server; yields the URL of each.

    :param files: the folder of Debian's default site, whose URL is `files`
    """
    ports = dict(zip([*servers, "files"], free_ports(len(servers) + 1), strict=True))
    environment = jinja2.Environment(  # noqa: S701 - it renders no HTML
        loader=jinja2.FileSystemLoader(BASELINE), keep_trailing_newline=True
    )
    rendered = {"/etc/nginx/nginx.conf": environment.get_template("nginx.conf.j2").render()}
    for name, port in ports.items():
        if name == "files":
            text = environment.get_template("default.conf.j2").render(port=port, home=files)
        else:
            (_, behind), keys = servers[name]
            text = environment.get_template("site.conf.j2").render(
                port=port, home=files, bind=f"127.0.0.1:{behind}", uwsgi=keys.get("server") == "uwsgi"
            )
        rendered[f"/etc/nginx/sites-enabled/{name}"] = text
    rendered["/etc/nginx/uwsgi_params"] = (NGINX.parents[2] / "etc/nginx/uwsgi_params").read_text()
    with nginx(rendered, {}, {}):
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


@contextlib.contextmanager
def chains(bench: Bench, cases: Mapping[str, Keys], **variables: Any) -> Iterator[dict[str, str]]:
    """A deployed site for each of these behind the collection's nginx; yields their URLs once all answer."""
    with contextlib.ExitStack() as stack:
        hosts = {name: (stack.enter_context(deployed(bench, keys)), keys) for name, keys in cases.items()}
        urls = stack.enter_context(collection_nginx(hosts, **variables))
        for url in urls.values():
            wait_for_answer(f"{url}/tiny")
        yield urls


@contextlib.contextmanager
def all_standalone(bench: Bench, cases: Mapping[str, Keys]) -> Iterator[dict[str, tuple[int, int]]]:
    """The same servers by themselves, on TCP; yields their ports once all answer."""
    with contextlib.ExitStack() as stack:
        free, ports = iter(free_ports(2 * len(cases))), {}
        for name, keys in cases.items():
            ports[name] = stack.enter_context(standalone(bench, keys, next(free), next(free)))
        for http, _ in ports.values():
            wait_for_answer(f"http://127.0.0.1:{http}/tiny")
        yield ports
