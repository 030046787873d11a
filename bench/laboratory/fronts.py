"""nginx, as the bundle sets it up and as most tutorials do; each on loopback, with files of its own."""

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
from laboratory.servers import Keys, await_answer, bare, deployed, page

BASELINE = ROOT / "bench" / "baseline" / "templates"


@contextlib.contextmanager
def nginx(files: Mapping[str, str], links: Mapping[str, str], logs: Mapping[str, Keys]) -> Iterator[Rig]:
    """A running nginx with these files."""
    with contextlib.contextmanager(private_nginx)() as rig:
        for name in logs:
            (rig.folder / "var/log" / name).mkdir(parents=True)
        rig.lay(files, links)
        if said := rig.test():
            raise BenchError(f"nginx does not like its configuration: {said}")
        rig.start()
        yield rig


@contextlib.contextmanager
def ours(hosts: Mapping[str, tuple[Host, Keys]], **variables: Any) -> Iterator[dict[str, str]]:
    """The bundle's nginx before sites that are deployed; the URL of each.

    :param variables: what of the role's variables is not as by default
    """
    ports = dict(zip(hosts, free_ports(len(hosts)), strict=True))
    sites = {name: {**page(host.site.root, keys), "http_port": ports[name]} for name, (host, keys) in hosts.items()}
    for each in sites.values():
        each["aliases"] = {"/static/": "app/static"}
    with nginx(*render(sites, **variables), sites):
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


@contextlib.contextmanager
def tutorials(servers: Mapping[str, tuple[tuple[int, int], Keys]], files: Path) -> Iterator[dict[str, str]]:
    """Debian's nginx with the tutorials' server block before each server; `files` is Debian's default site's."""
    ports = dict(zip([*servers, "files"], free_ports(len(servers) + 1), strict=True))
    environment = jinja2.Environment(  # noqa: S701 - it writes no page
        loader=jinja2.FileSystemLoader(BASELINE), keep_trailing_newline=True
    )
    laid = {"/etc/nginx/nginx.conf": environment.get_template("nginx.conf.j2").render()}
    for name, port in ports.items():
        if name == "files":
            text = environment.get_template("default.conf.j2").render(port=port, home=files)
        else:
            (_, behind), keys = servers[name]
            text = environment.get_template("site.conf.j2").render(
                port=port, home=files, bind=f"127.0.0.1:{behind}", uwsgi=keys.get("server") == "uwsgi"
            )
        laid[f"/etc/nginx/sites-enabled/{name}"] = text
    laid["/etc/nginx/uwsgi_params"] = (NGINX.parents[2] / "etc/nginx/uwsgi_params").read_text()
    with nginx(laid, {}, {}):
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


@contextlib.contextmanager
def chains(bench: Bench, cases: Mapping[str, Keys], **variables: Any) -> Iterator[dict[str, str]]:
    """A deployed site for each of these, behind the bundle's nginx; the URL of each, once all answer."""
    with contextlib.ExitStack() as stack:
        hosts = {name: (stack.enter_context(deployed(bench, keys)), keys) for name, keys in cases.items()}
        urls = stack.enter_context(ours(hosts, **variables))
        for url in urls.values():
            await_answer(f"{url}/tiny")
        yield urls


@contextlib.contextmanager
def by_themselves(bench: Bench, cases: Mapping[str, Keys]) -> Iterator[dict[str, tuple[int, int]]]:
    """The same servers without nginx, on TCP: the ports of each, once all answer."""
    with contextlib.ExitStack() as stack:
        free, ports = iter(free_ports(2 * len(cases))), {}
        for name, keys in cases.items():
            ports[name] = stack.enter_context(bare(bench, keys, next(free), next(free)))
        for http, _ in ports.values():
            await_answer(f"http://127.0.0.1:{http}/tiny")
        yield ports
