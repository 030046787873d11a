"""TLS as a real nginx serves it with the rendered files."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from certificates import make, place
from nginx_rig import NGINX, Rig, Upstream, ask, client, free_port, needs_nginx, private_nginx, render, say, talk

from ansible_collections.wsgi.sites.plugins.module_utils.system.kernel import nginx_version

NAMES = ["shop.example.com", "www.shop.example.com"]
CIPHERS = {
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
}  # fmt: skip


@pytest.fixture
def rig():
    yield from private_nginx()


@pytest.fixture
def serve(rig: Rig):
    """Starts nginx with one site: `serve(tls={…}, canonical_name=…)`."""
    upstreams = []

    def start(server_names: list[str] | None = None, neighbour: dict | None = None, **site) -> SimpleNamespace:
        http, https, names = free_port(), free_port(), server_names or NAMES
        site = {"server_names": names, "source": {"path": "app"}, "http_port": http, "https_port": https, **site}
        site["tls"] = {"mode": "provided"} | site.get("tls", {})
        sites = {"shop": site}
        if neighbour is not None:
            tls = {"mode": "provided"} | neighbour.pop("tls", {})
            sites["blog"] = {**site, "server_names": ["blog.example.com"], "tls": tls, **neighbour}
        files, links = render(sites, nginx_worker_processes=1, nginx_version=nginx_version(NGINX))
        for name, entry in sites.items():
            root = rig.site(name)
            made = make(*entry["server_names"])
            place(rig.folder / f"etc/{name}/tls", made)
            upstreams.append(Upstream(root / "slots/blue/sock"))
            upstreams[-1].start()
        (rig.folder / "srv/shop/releases/two/app/static/style.css").write_text("body {}")
        rig.install(files, links)
        rig.start()
        der = make_der(rig, "shop")
        return SimpleNamespace(http=http, https=https, certificate=der, neighbour=lambda: make_der(rig, "blog"))

    yield start
    for upstream in upstreams:
        upstream.listener.close()


@needs_nginx
@pytest.mark.parametrize(
    "site",
    [
        {},
        {"canonical_name": "shop.example.com"},
        {"tls": {"redirect": False}},
        {"tls": {"redirect": False}, "canonical_name": "shop.example.com", "aliases": {"/.well-known/": "app/static"}},
    ],
)
def test_an_acme_token_is_served_at_each_name_and_nothing_else(serve, rig: Rig, site: dict) -> None:
    shop = serve(**site | {"tls": {"mode": "acme"} | site.get("tls", {})})
    tokens = rig.folder / "var/lib/sites/acme/.well-known/acme-challenge"
    (tokens / "below").mkdir(parents=True)
    for name in ("a-token_1", "page.html", ".hidden", "below/token"):
        (tokens / name).write_text(f"proof of {name}")
    place = "/.well-known/acme-challenge"
    for name in NAMES:
        found = ask(shop.http, f"{place}/a-token_1", host=name)
        assert found.startswith("HTTP/1.1 200") and found.endswith("proof of a-token_1")
        assert "Content-Type: text/plain" in found
        for wrong in ("other", "page.html", ".hidden", "below/token", "", "below", "%2e%2e/x", "../../x"):
            assert "proof" not in ask(shop.http, f"{place}/{wrong}", host=name)
    assert ask(shop.http, "/elsewhere").split()[1] == ("301" if site.get("tls", {}).get("redirect", True) else "200")


@needs_nginx
@pytest.mark.parametrize(
    "site", [{}, {"tls": {"redirect": False}}, {"trusted_balancers": ["127.0.0.9"]}, {"canonical_name": NAMES[0]}]
)
def test_maintenance_keeps_acme_tokens_and_redirects_to_https(serve, rig: Rig, site: dict) -> None:
    shop = serve(**site | {"tls": {"mode": "acme"} | site.get("tls", {})})
    tokens = rig.folder / "var/lib/sites/acme/.well-known/acme-challenge"
    tokens.mkdir(parents=True)
    (tokens / "token").write_text("proof")
    (rig.folder / "var/lib/sites/maintenance").mkdir()
    (rig.folder / "var/lib/sites/maintenance/shop").touch()
    for name in NAMES:
        assert ask(shop.http, "/.well-known/acme-challenge/token", host=name).endswith("proof")
        assert ask(shop.http, "/.well-known/acme-challenge/other", host=name).startswith("HTTP/1.1 404")
    redirects = site.get("tls", {}).get("redirect", True)
    assert ask(shop.http, "/x").split()[1] == ("301" if redirects else "503")
    answer = talk(shop.https, "/x").answer
    assert answer.startswith("HTTP/1.1 503") and "Retry-After: 300\r\n" in answer and "Back soon" in answer


@needs_nginx
@pytest.mark.parametrize("site", [{}, {"trusted_balancers": ["127.0.0.9"]}])
def test_requests_refused_before_their_path_is_known_get_the_error_page(serve, rig: Rig, site: dict) -> None:
    """With SNI, nginx knows the site before the request, but sends such a request to no named location."""
    shop = serve(**site)
    for path, status in ((f"/{'x' * 9000}", 414), ("/%zz", 400), ("/../../x", 400)):
        answer = talk(shop.https, path).answer
        assert answer.startswith(f"HTTP/1.1 {status} ") and f'<p class="status">{status}</p>' in answer, path
        assert "Location" not in answer
    log = (rig.folder / "var/log/shop/error.log").read_text()
    assert "empty URI" not in log and "cycle" not in log


def make_der(rig: Rig, site: str) -> bytes:
    """The site's certificate in DER."""
    return ssl.PEM_cert_to_DER_cert((rig.folder / f"etc/{site}/tls/fullchain.pem").read_text())


def refused(run: Callable[[], object]) -> str:
    """The reason of a failed handshake."""
    with pytest.raises(ssl.SSLError) as error:
        run()
    return str(error.value)


def offering(**limits: object) -> ssl.SSLContext:
    """A client that offers this only."""
    context = client()
    ciphers = limits.pop("ciphers", "ALL:@SECLEVEL=0")
    context.set_ciphers(str(ciphers))
    for name, value in limits.items():
        setattr(context, name, value)
    return context


@needs_nginx
class TestProtocol:
    """Protocol versions and ciphers of the handshake."""

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
    def test_only_tls_1_2_and_1_3_are_accepted(self, serve):
        shop, seen = serve(), {}
        for each in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = offering(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=each)
            context.minimum_version = each
            try:
                seen[each.name] = talk(shop.https, context=context).version
            except ssl.SSLError:
                seen[each.name] = None
        assert seen == {"TLSv1": None, "TLSv1_1": None, "TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}

    def test_the_ciphers_of_tls_1_2_are_those_of_the_profile(self, serve):
        shop, taken = serve(), set()
        known = [each["name"] for each in offering().get_ciphers() if each["protocol"] != "TLSv1.3"]
        for name in known:
            try:
                context = offering(ciphers=f"{name}:@SECLEVEL=0", maximum_version=ssl.TLSVersion.TLSv1_2)
                taken.add(talk(shop.https, context=context).cipher)
            except ssl.SSLError:
                continue
        assert taken == {name for name in CIPHERS if "ECDSA" in name} and len(known) > 40

    @pytest.mark.parametrize(
        ("first", "taken"), [("AES256-GCM-SHA384", "AES128-GCM-SHA256"), ("CHACHA20-POLY1305", "CHACHA20-POLY1305")]
    )
    def test_the_server_orders_ciphers_except_for_clients_that_prefer_chacha(self, serve, first, taken):
        names = [f"ECDHE-ECDSA-{name}" for name in (first, "AES128-GCM-SHA256", "CHACHA20-POLY1305")]
        context = offering(ciphers=":".join(dict.fromkeys(names)), maximum_version=ssl.TLSVersion.TLSv1_2)
        assert talk(serve().https, context=context).cipher == f"ECDHE-ECDSA-{taken}"

    def test_http_2_is_used_where_the_client_offers_it(self, serve):
        shop = serve()
        assert talk(shop.https, context=client("h2", "http/1.1")).alpn == "h2"
        assert talk(shop.https, context=client("http/1.1")).alpn == "http/1.1"

    @pytest.mark.parametrize("last", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_sessions_resume_from_memory_without_tickets(self, serve, last):
        shop, context = serve(), client()
        context.maximum_version = last

        def visit(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
            with (
                socket.create_connection(("127.0.0.1", shop.https), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname=NAMES[0], session=session) as peer,
            ):
                peer.sendall(f"GET / HTTP/1.1\r\nHost: {NAMES[0]}\r\nConnection: close\r\n\r\n".encode())
                while peer.recv(65536):
                    pass
                return peer.session, peer.session_reused

        session, _ = visit(None)
        assert session is not None
        assert visit(session)[1] is True
        if last == ssl.TLSVersion.TLSv1_2:
            assert not session.has_ticket
        else:  # 1.3 calls it a ticket, but it is only the number of what nginx remembers
            assert session.has_ticket


@needs_nginx
class TestNames:
    """Names that are served, and their certificates."""

    def test_the_site_shows_its_certificate_and_the_app_sees_https(self, serve):
        shop = serve(neighbour={})
        found = talk(shop.https, "/x?y=1")
        assert found.answer.startswith("HTTP/1.1 200") and found.certificate == shop.certificate
        assert "\r\nX-Forwarded-Proto: https\r\n" in found.answer
        assert f"\r\nHost: shop.example.com:{shop.https}\r\n" in found.answer
        assert "Strict-Transport-Security" not in found.answer
        assert talk(shop.https, name="blog.example.com").certificate == shop.neighbour()

    @pytest.mark.parametrize("name", ["unknown.example.com", None])
    def test_an_unknown_name_gets_no_certificate(self, serve, name):
        shop = serve()
        assert "unrecognized" in refused(lambda: talk(shop.https, name=name, host="shop.example.com")).lower()

    def test_a_request_for_another_name_than_its_sni_gets_no_site(self, serve):
        shop = serve()
        assert talk(shop.https, host="unknown.example.com").answer == ""

    def test_clients_that_connect_by_ip_are_served_and_unknown_names_are_not(self, serve):
        shop = serve(["shop.example.com", "127.0.0.1", "::1"], neighbour={})
        for host in (f"127.0.0.1:{shop.https}", "[::1]"):
            found = talk(shop.https, name=None, host=host)
            assert found.answer.startswith("HTTP/1.1 200") and found.certificate == shop.certificate
        assert talk(shop.https, name=None, host="unknown.example.com").answer == ""
        assert talk(shop.https, name="unknown.example.com").answer == ""
        assert talk(shop.https, name="blog.example.com").certificate == shop.neighbour()
        assert talk(shop.https, name=None, context=client("h2"), host="127.0.0.1").alpn == "h2"

    def test_plain_http_on_the_port_of_https_reaches_no_site(self, serve):
        assert ask(serve().https, "/").startswith("HTTP/1.1 400")


def redirected(answer: str) -> tuple[str, str]:
    """The status and target of a redirect."""
    found = re.search(r"^HTTP/1\.1 (\d+).*?\r\nLocation: (\S+)\r\n", answer, re.DOTALL)
    assert found, answer
    return found[1], found[2]


@needs_nginx
class TestRedirects:
    """From http to https, and from one name to another."""

    def test_http_redirects_to_https_with_path_query_and_port(self, serve):
        shop = serve()
        answer = ask(shop.http, "/a%20b/c?d=e&f=%2F", host="www.shop.example.com:8080")
        assert redirected(answer) == ("301", f"https://www.shop.example.com:{shop.https}/a%20b/c?d=e&f=%2F")

    def test_a_redirect_omits_port_443(self):
        files, _ = render({"shop": {"server_names": NAMES, "source": {"path": "app"}, "tls": {"mode": "selfsigned"}}})
        assert "return 301 https://$host$request_uri;" in files["/etc/nginx/sites-available/shop.conf"]

    def test_redirects_ignore_forged_headers(self, serve):
        shop = serve()
        forged = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n"
        for answer in (
            ask(shop.http, "http://shop.example.com/x", host="evil.example", headers=forged),
            ask(shop.http, "/x", headers=forged),
        ):
            assert redirected(answer)[1] == f"https://shop.example.com:{shop.https}/x"
        assert ask(shop.http, "/x", host="evil.example") == ""
        assert redirected(ask(shop.http, "//evil.example/x"))[1].startswith("https://shop.example.com:")

    def test_without_the_redirect_http_and_https_serve(self, serve):
        shop = serve(tls={"redirect": False})
        assert "\r\nX-Forwarded-Proto: http\r\n" in ask(shop.http)
        assert "\r\nX-Forwarded-Proto: https\r\n" in talk(shop.https).answer

    def test_other_names_redirect_to_the_canonical_one(self, serve):
        shop = serve(canonical_name="shop.example.com")
        away = f"https://shop.example.com:{shop.https}/x?y=1"
        assert redirected(talk(shop.https, "/x?y=1", name="www.shop.example.com").answer) == ("301", away)
        assert redirected(ask(shop.http, "/x?y=1", host="www.shop.example.com")) == ("301", away), "in one step"
        assert talk(shop.https).answer.startswith("HTTP/1.1 200")

    def test_a_canonical_name_needs_no_https(self, serve):
        shop = serve(canonical_name="shop.example.com", tls={"mode": "none"})
        answer = ask(shop.http, "/x?y=1", host=f"www.shop.example.com:{shop.http}")
        assert redirected(answer) == ("301", f"http://shop.example.com:{shop.http}/x?y=1")
        assert ask(shop.http).startswith("HTTP/1.1 200")


@needs_nginx
def test_hsts_is_sent_once_on_every_response_if_set(serve):
    shop = serve(tls={"hsts": 86400}, aliases={"/static/": "app/static"}, canonical_name="shop.example.com")
    for path, name in (("/", NAMES[0]), ("/static/style.css", NAMES[0]), ("/", NAMES[1])):
        found = talk(shop.https, path, name=name).answer
        assert found.count("\r\nStrict-Transport-Security: max-age=86400\r\n") == 1, found


@needs_nginx
class TestBalancers:
    """HTTPS behind a load balancer."""

    BALANCER = "127.0.0.9"
    HTTPS, HTTP = "X-Forwarded-Proto: https\r\n", "X-Forwarded-Proto: http\r\n"

    def test_requests_that_a_balancer_got_by_http_are_redirected(self, serve):
        shop = serve(trusted_balancers=[self.BALANCER], canonical_name="shop.example.com", tls={"hsts": 60})
        served = ask(shop.http, "/x", headers=self.HTTPS, source=self.BALANCER)
        assert served.startswith("HTTP/1.1 200") and "\r\nX-Forwarded-Proto: https\r\n" in served
        assert "\r\nStrict-Transport-Security: max-age=60\r\n" in served
        away = ("301", "https://shop.example.com/x?y=1")
        for host in NAMES:
            answer = ask(shop.http, "/x?y=1", host=host, headers=self.HTTP, source=self.BALANCER)
            assert redirected(answer) == away and "Strict-Transport-Security" not in answer
        other = ask(shop.http, "/x?y=1", host=NAMES[1], headers=self.HTTPS, source=self.BALANCER)
        assert redirected(other) == away
        assert redirected(talk(shop.https, "/x?y=1", host="www.shop.example.com").answer) == away

    def test_only_a_trusted_balancer_can_claim_https(self, serve):
        shop = serve(trusted_balancers=[self.BALANCER])
        for headers in ("", self.HTTPS, self.HTTP):
            assert redirected(ask(shop.http, "/x", headers=headers)) == ("301", "https://shop.example.com/x")
            assert "\r\nX-Forwarded-Proto: https\r\n" in talk(shop.https, headers=headers).answer

    def test_acme_tokens_are_not_redirected(self, serve):
        shop = serve(trusted_balancers=[self.BALANCER])
        answer = ask(shop.http, "/.well-known/acme-challenge/x", headers=self.HTTP, source=self.BALANCER)
        assert answer.startswith("HTTP/1.1 200")

    def test_the_proxy_protocol_is_expected_on_both_ports(self, serve):
        shop = serve(["shop.example.com", "127.0.0.1"], trusted_balancers=["127.0.0.1"], proxy_protocol=True)
        line = "PROXY TCP4 198.51.100.5 192.0.2.1 4711 443\r\n"
        request = "GET /x HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n"
        assert redirected(say(shop.http, line + request)) == ("301", "https://shop.example.com/x")
        found = talk(shop.https, "/x", before=line)
        assert found.certificate == shop.certificate
        assert "\r\nX-Forwarded-For: 198.51.100.5\r\n" in found.answer
        assert "\r\nX-Forwarded-Proto: https\r\n" in found.answer
        assert talk(shop.https, name=None, host="127.0.0.1", before=line).answer.startswith("HTTP/1.1 200")
        assert talk(shop.https, name="unknown.example.com", before=line).answer == ""
        for port in (shop.http, shop.https):
            assert say(port, request) == "", "a client without it gets no response"


@needs_nginx
def test_a_site_below_a_path_has_the_https_of_the_site_above(serve):
    shop = serve(neighbour={"server_names": NAMES, "path": "/blog", "headers": {"X-Robots-Tag": "noindex"}})
    assert redirected(ask(shop.http, "/blog/x?y=1"))[1] == f"https://shop.example.com:{shop.https}/blog/x?y=1"
    answer = talk(shop.https, "/blog/x").answer
    assert "\r\nX-Forwarded-Proto: https\r\n" in answer and "\r\nX-Robots-Tag: noindex\r\n" in answer
    assert "X-Robots-Tag" not in talk(shop.https, "/x").answer


@needs_nginx
class TestClientCertificates:
    """Mutual TLS."""

    @pytest.fixture
    def authority(self):
        return make(authority=True, common_name="clients")

    @pytest.fixture
    def own(self, authority, tmp_path):
        return make(by=authority, common_name="Ada, Countess").put(tmp_path, "ada")

    FORGED = "X-Client-Certificate-Verify: SUCCESS\r\nX-Client-Certificate-Subject: CN=forged\r\n"

    def test_clients_with_a_valid_certificate_have_access(self, serve, authority, own):
        shop = serve(tls={"client_ca": authority.pem})
        found = talk(shop.https, context=client(show=own), headers=self.FORGED).answer
        assert found.startswith("HTTP/1.1 200") and "forged" not in found
        assert found.count("\r\nX-Client-Certificate-Verify: SUCCESS\r\n") == 1
        assert found.count("\r\nX-Client-Certificate-Subject: CN=Ada\\, Countess\r\n") == 1

    def test_clients_without_a_valid_certificate_are_refused(self, serve, authority, tmp_path):
        shop = serve(tls={"client_ca": authority.pem})
        refusal = talk(shop.https).answer
        assert refusal.startswith("HTTP/1.1 400") and "A certificate is needed here" in refusal
        stranger = make(by=make(authority=True, common_name="clients"), common_name="Ada").put(tmp_path, "eve")
        assert talk(shop.https, context=client(show=stranger)).answer.startswith("HTTP/1.1 400")

    def test_optional_certificates_are_reported_to_the_app(self, serve, authority, own):
        shop = serve(tls={"client_ca": authority.pem, "client_verify": "optional"})
        found = talk(shop.https, headers=self.FORGED).answer
        assert "\r\nX-Client-Certificate-Verify: NONE\r\n" in found and "forged" not in found
        assert "X-Client-Certificate-Verify: SUCCESS" in talk(shop.https, context=client(show=own)).answer

    @pytest.mark.parametrize("site", ["required", "optional"])
    def test_a_path_can_require_a_certificate(self, serve, authority, own, site):
        path = {"required": "optional", "optional": "required"}[site]
        shop = serve(
            tls={"client_ca": authority.pem, "client_verify": site},
            aliases={"/static/": "app/static"},
            locations={"/other/": {"client_verify": path}, "/static/": {"client_verify": path}},
        )
        for one in ("/other/../x", "/other/%2e%2e/x", "/x/../other/x"):
            assert talk(shop.https, one).answer.startswith("HTTP/1.1 400 "), one
        for one in ("/x", "/Other/x"):
            assert talk(shop.https, one).answer.startswith(f"HTTP/1.1 {400 if site == 'required' else 200} "), one
        for one in ("/other/x", "//other/x", "/%6fther/x", "/static/style.css"):
            found = talk(shop.https, one).answer
            assert found.startswith(f"HTTP/1.1 {400 if path == 'required' else 200} "), one
        for one in ("/x", "/other/x", "/static/style.css"):
            assert talk(shop.https, one, context=client(show=own)).answer.startswith("HTTP/1.1 200"), one
        refusal = talk(shop.https, "/x" if site == "required" else "/other/x").answer
        assert "A certificate is needed here" in refusal and "</main>" in refusal

    def test_responses_to_clients_with_a_certificate_are_not_cached(self, serve, authority, own):
        shop = serve(
            tls={"client_ca": authority.pem, "client_verify": "optional"},
            micro_cache={"seconds": 60},
            locations={"/secret/": {"client_verify": "required"}},
        )
        ada = {"context": client(show=own)}
        for _ in range(2):
            found = talk(shop.https, **ada).answer
            assert "X-Cache: BYPASS" in found and "CN=Ada" in found
        for said in ("MISS", "HIT"):
            found = talk(shop.https).answer
            assert f"X-Cache: {said}" in found and "CN=Ada" not in found
        assert "CN=Ada" in talk(shop.https, **ada).answer, "nor the anonymous response for her"
        assert talk(shop.https, "/secret/x", **ada).answer.startswith("HTTP/1.1 200")
        assert talk(shop.https, "/secret/x").answer.startswith("HTTP/1.1 400")

    def test_another_sites_sni_or_none_gives_no_access(self, serve, authority):
        shop = serve(["shop.example.com", "127.0.0.1"], tls={"client_ca": authority.pem}, neighbour={})
        for name in ("blog.example.com", None):
            for host in ("shop.example.com", "127.0.0.1"):
                answer = talk(shop.https, name=name, host=host).answer
                assert re.match(r"HTTP/1\.1 4(00|21) ", answer), (name, host, answer)

    @pytest.mark.parametrize("verify", ["required", "optional"])
    def test_a_certificate_of_another_sites_authority_gives_no_access(self, serve, authority, own, tmp_path, verify):
        """Another site with `addresses` checks the certificates of clients without or with unknown SNI."""
        theirs = make(authority=True, common_name="others")
        shop = serve(
            tls={"client_ca": authority.pem, "client_verify": verify},
            locations={"/other/": {"client_verify": "required"}} if verify == "optional" else {},
            neighbour={
                "server_names": ["blog.example.com", "127.0.0.1"],
                "tls": {"client_ca": theirs.pem},
                "locations": {},
            },
        )
        eve = client(show=make(by=theirs, common_name="Eve").put(tmp_path, "eve"))
        for name in (None, "none.example.com", "none.example.com|/.sites-errors/", "blog.example.com"):
            answer = talk(shop.https, "/other/x", name=name, host="shop.example.com", context=eve).answer
            assert answer.startswith("HTTP/1.1 421 ") and "SUCCESS" not in answer, name
        assert "This connection is for another name" in answer
        for name in NAMES:
            assert "SUCCESS" in talk(shop.https, name=name.upper(), host=name, context=client(show=own)).answer
        assert "CN=Eve" in talk(shop.https, name=None, host="127.0.0.1", context=eve).answer

    def test_without_mutual_tls_certificate_headers_are_cleared(self, serve):
        assert "X-Client-Certificate" not in talk(serve().https, headers=self.FORGED).answer


@pytest.mark.parametrize(("release", "words"), [("1.22.1", "listen 443 ssl http2;"), ("1.26.3", "http2 on;")])
def test_http_2_is_enabled_in_the_syntax_of_the_nginx_release(release, words):
    sites = {"shop": {"server_names": NAMES, "source": {"path": "app"}, "tls": {"mode": "selfsigned"}}}
    text = render(sites, nginx_version=release)[0]["/etc/nginx/sites-available/shop.conf"]
    assert words in text and ("http2 on;" in text) != ("ssl http2" in text)


@pytest.mark.parametrize(("release", "has_it"), [("1.22.1", False), ("1.26.3", True)])
def test_http_3_is_offered_if_set_and_supported(release, has_it):
    entry = {"server_names": NAMES, "source": {"path": "app"}}
    sites = {"shop": entry | {"tls": {"mode": "selfsigned", "http3": True}}}
    files, _ = render(sites, nginx_version=release)
    site, unknown = files["/etc/nginx/sites-available/shop.conf"], files["/etc/nginx/conf.d/unknown-names.conf"]
    assert ("listen 443 quic;" in site, "listen 443 quic reuseport;" in unknown) == (has_it, has_it)
    headers = files["/etc/nginx/sites-headers/shop.conf"]
    assert ("add_header Alt-Svc 'h3=\":443\"; ma=86400' always;" in headers) == has_it
    files, _ = render({"shop": entry | {"tls": {"mode": "selfsigned"}}}, nginx_version=release)
    assert " quic;" not in "".join(files.values()) and "Alt-Svc" not in "".join(files.values())
