"""Static files served by a real nginx: precompressed copies and cache headers."""

from __future__ import annotations

import gzip
import http.client
import os
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from nginx_rig import Rig, ask, free_port, needs_nginx, private_nginx, render

from ansible_collections.wsgi.sites.plugins.module_utils.releases.compression import Compressor

pytestmark = needs_nginx

CSS = "body { color: #123456; }\n" * 200
FOREVER = "public, max-age=31536000, immutable"
HASHED = "app.1a2b3c4d.js"
GZIP = "Accept-Encoding: gzip\r\n"
BROTLI = next(
    (path for path in (Path("/usr/lib/nginx/modules/ngx_http_brotli_static_module.so"),) if path.exists()), None
)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    yield from private_nginx()


@pytest.fixture(scope="module")
def shop(rig: Rig) -> int:
    """The port of a site with two built and compressed releases."""
    port = free_port()
    site = {
        "server_names": ["shop.example.com"],
        "source": {"path": "app"},
        "http_port": port,
        "aliases": {"/static/": "app/static", "/media/": "shared/media"},
        "headers": {"X-Robots-Tag": "noindex"},
    }
    files, links = render(
        {
            "shop": site,
            "plain": {**site, "server_names": ["plain.example.com"], "precompress": False},
            "closed": {**site, "server_names": ["closed.example.com"], "allow": ["127.0.0.1"]},
        },
        nginx_worker_processes=1,
        nginx_brotli=BROTLI is not None,
    )
    for name in ("shop", "plain", "closed"):
        root = rig.site(name)
        for release, own_file in (("one", "old.1a2b3c4d.js"), ("two", HASHED)):
            static = root / "releases" / release / "app/static"
            for file in ("style.css", own_file):
                (static / file).write_text(CSS)
                os.utime(static / file, (1_000_000_000, 1_000_000_000))
            (static / "folder.1a2b3c4d.js").mkdir()
            if name == "shop":
                ways = ("gzip", "brotli") if BROTLI else ("gzip",)
                Compressor(static.parents[1], ways, os.getgid()).run(["app/static"])
        (root / "shared/media/list.txt").write_text(CSS)
        (root / "shared/media/list.txt.gz").write_bytes(gzip.compress(b"uploaded by somebody"))
    # Precompressed files differ from those that nginx compresses itself.
    packed = rig.folder / "srv/plain/releases/two/app/static/style.css.gz"
    packed.write_bytes(gzip.compress(b"not asked for"))
    rig.install(files, links)
    if BROTLI:
        (rig.conf / "modules-enabled/brotli.conf").write_text(f"load_module {BROTLI};\n")
    rig.start()
    return port


def get(port: int, path: str, headers: str = "", host: str = "shop.example.com") -> tuple[int, Message, bytes]:
    """A request; the response's status, headers, and body without decompression."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for line in [f"Host: {host}", *headers.splitlines()]:
        connection.putheader(*line.split(": ", 1))
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize("name", ["style.css", HASHED, "old.1a2b3c4d.js"])
def test_a_browser_gets_the_compressed_file_as_it_is(shop: int, rig: Rig, name: str):
    status, headers, body = get(shop, f"/static/{name}", GZIP)
    release = "one" if name.startswith("old") else "two"
    lies = rig.folder / f"srv/shop/releases/{release}/app/static/{name}.gz"
    assert (status, body) == (200, lies.read_bytes())
    assert headers["Content-Encoding"] == "gzip" and headers["Content-Length"] == str(len(body))
    assert "Accept-Encoding" in headers["Vary"]
    assert headers["Content-Type"].startswith("text/css" if name.endswith("css") else "application/javascript")
    assert headers["X-Robots-Tag"] == "noindex" and len(headers.get_all("X-Request-ID")) == 1


@pytest.mark.parametrize("headers", ["", "Accept-Encoding: identity\r\n", "Accept-Encoding: gzip;q=0\r\n"])
def test_clients_without_gzip_get_the_file_itself_with_vary(shop: int, headers: str):
    status, found, body = get(shop, "/static/style.css", headers)
    assert (status, body, found["Content-Encoding"]) == (200, CSS.encode(), None)
    assert "Accept-Encoding" in found["Vary"]


def test_file_and_compressed_file_have_own_etags_and_one_time(shop: int):
    tags = {}
    for accepted in (GZIP, ""):
        _, headers, _ = get(shop, "/static/style.css", accepted)
        tags[accepted] = headers["ETag"]
        assert headers["Last-Modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
        status, again, body = get(shop, "/static/style.css", f"{accepted}If-None-Match: {headers['ETag']}\r\n")
        assert (status, body) == (304, b"")
        assert again["Cache-Control"] == "max-age=3600" and again["X-Robots-Tag"] == "noindex"
    assert tags[GZIP] != tags[""] and not any(tag.startswith("W/") for tag in tags.values())


def test_a_range_is_of_the_encoding_that_the_response_names(shop: int):
    whole = get(shop, "/static/style.css")[2]
    status, headers, body = get(shop, "/static/style.css", "Range: bytes=5-14\r\n")
    assert (status, body, headers["Content-Encoding"]) == (206, whole[5:15], None)
    packed = get(shop, "/static/style.css", GZIP)[2]
    status, headers, body = get(shop, "/static/style.css", f"{GZIP}Range: bytes=5-14\r\n")
    # Either encoding is correct; a part of one declared as the other is not.
    assert headers["Content-Encoding"] == "gzip"
    assert (status, body) in ((206, packed[5:15]), (200, packed))


def test_an_uploaded_gz_file_is_not_served_for_another(shop: int):
    status, headers, body = get(shop, "/media/list.txt", GZIP)
    assert (status, gzip.decompress(body)) == (200, CSS.encode())
    assert headers["Cache-Control"] == "max-age=3600"


def test_precompress_false_ignores_compressed_files(shop: int):
    _, _, body = get(shop, "/static/style.css", GZIP, host="plain.example.com")
    assert body != gzip.compress(b"not asked for") and len(body) > 50


@pytest.mark.parametrize("name", [HASHED, "old.1a2b3c4d.js"])
@pytest.mark.parametrize("host", ["shop.example.com", "plain.example.com"])
@pytest.mark.parametrize("accepted", ["", GZIP])
def test_hashed_files_are_immutable_for_a_year(shop: int, name: str, host: str, accepted: str):
    _, headers, _ = get(shop, f"/static/{name}", accepted, host=host)
    assert headers.get_all("Cache-Control") == [FOREVER]
    assert headers["Expires"] is None
    status, headers, _ = get(shop, f"/static/{name}", f"{accepted}If-None-Match: {headers['ETag']}\r\n", host=host)
    assert status == 304 and headers.get_all("Cache-Control") == [FOREVER]
    assert headers["X-Robots-Tag"] == "noindex"


def test_hashed_files_with_restricted_access_are_private(shop: int):
    _, headers, _ = get(shop, f"/static/{HASHED}", host="closed.example.com")
    assert headers.get_all("Cache-Control") == [FOREVER.replace("public", "private")]


def test_other_files_have_static_max_age(shop: int):
    assert get(shop, "/static/style.css")[1].get_all("Cache-Control") == ["max-age=3600"]


@pytest.mark.parametrize(
    "path",
    ["/static/gone.1a2b3c4d.js", "/static/folder.1a2b3c4d.js", "/static/folder.1a2b3c4d.js/", "/static/gone.css"],
)
def test_errors_for_hashed_names_are_not_cached(shop: int, path: str):
    answer = ask(shop, path)
    assert re.match(r"HTTP/1.1 (404|403)", answer)
    assert re.findall("Cache-Control: (.*?)\r", answer) == ["no-store"]


@pytest.mark.skipif(BROTLI is None, reason="needs libnginx-mod-http-brotli-static")
@pytest.mark.parametrize("name", ["style.css", HASHED])
@pytest.mark.parametrize("accepted", ["br", "gzip, deflate, br, zstd", "br, gzip"])
def test_clients_with_brotli_get_it(shop: int, rig: Rig, name: str, accepted: str):
    status, headers, body = get(shop, f"/static/{name}", f"Accept-Encoding: {accepted}\r\n")
    assert (status, headers["Content-Encoding"]) == (200, "br")
    assert body == (rig.folder / f"srv/shop/releases/two/app/static/{name}.br").read_bytes()
    assert "Accept-Encoding" in headers["Vary"]
    assert get(shop, f"/static/{name}", GZIP)[1]["Content-Encoding"] == "gzip"
