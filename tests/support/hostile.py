"""Hostile requests, for a private nginx and for a complete host."""

from __future__ import annotations

from http2 import Headers, pseudo

FORGED = (
    "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n"
    "X-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.7;proto=https;host=evil.test\r\nX-Request-ID: forged\r\n"
)

# A smuggled request: a server that parses the framing differently would pass it on, and the shop app store it.
SMUGGLED = "POST /orders/smuggled HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n"
LENGTH = f"Content-Length: {len(SMUGGLED) + 5}\r\n"
SHAPES = {
    "two lengths": "Content-Length: 4\r\nContent-Length: 0\r\n\r\nabcd",
    "two equal lengths": "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": "Content-Length: 0, 0\r\n\r\n",
    "length and chunks": f"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "chunks and length": f"Transfer-Encoding: chunked\r\n{LENGTH}\r\n0\r\n\r\n{SMUGGLED}",
    "chunks twice": f"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "another coding": f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "two codings": f"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "a space before the colon": f"Transfer-Encoding : chunked\r\n{LENGTH}\r\n0\r\n\r\n{SMUGGLED}",
    "a folded header": f"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{SMUGGLED}",
    "a negative length": "Content-Length: -1\r\n\r\n",
    "a length in hex": "Content-Length: 0x4\r\n\r\nabcd",
    "a length with a plus": "Content-Length: +4\r\n\r\nabcd",
    "a chunk that is too long": "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "a bare carriage return": f"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{SMUGGLED}",
    "a null": "X: a\0b\r\nContent-Length: 0\r\n\r\n",
}


def over_http2(name: str) -> dict[str, tuple[Headers, bytes, Headers]]:
    """Requests that HTTP/2 can carry and HTTP/1.1 cannot, or only in another form: headers, body, trailers.

    nginx must translate each of them to HTTP/1.1 for the app.
    """
    get, post = pseudo("/first", name), pseudo("/first", name, "POST")
    evil = "y\r\nx-forwarded-for: 6.6.6.6"
    chunks = b"0\r\n\r\n" + SMUGGLED.encode()
    coding, length = ("transfer-encoding", "chunked"), ("content-length", str(len(chunks)))

    def instead(of: str, value: str) -> Headers:
        return [(key, value if key == of else old) for key, old in get]

    return {
        "a line of its own in a value": ([*get, ("x", evil)], b"", ()),
        "half a line end in a value": ([*get, ("x", evil.replace("\r", ""))], b"", ()),
        "a null in a value": ([*get, ("x", "y\0z")], b"", ()),
        "a line of its own in a name": ([*get, (f"x: {evil}\r\nz", "y")], b"", ()),
        "a colon in a name": ([*get, ("x-forwarded-for:x", "6.6.6.6")], b"", ()),
        "a space after a name": ([*get, ("x-forwarded-for ", "6.6.6.6")], b"", ()),
        "a capital in a name": ([*get, ("X-Forwarded-For", "6.6.6.6")], b"", ()),
        "an underscore in a name": ([*get, ("x_forwarded_for", "6.6.6.6")], b"", ()),
        "no name": ([*get, ("", "6.6.6.6")], b"", ()),
        "chunks": ([*post, coding], chunks, ()),
        "chunks and length": ([*post, coding, ("content-length", "5")], chunks, ()),
        "length and chunks": ([*post, length, coding], chunks, ()),
        "another coding": ([*post, ("transfer-encoding", "xchunked")], chunks, ()),
        "a length that is too short": ([*post, ("content-length", "0")], SMUGGLED.encode(), ()),
        "a length that is too long": ([*post, ("content-length", "9")], b"abcd", ()),
        "a length and no body": ([*post, ("content-length", "9")], b"", ()),
        "two lengths": ([*post, ("content-length", "4"), ("content-length", "0")], b"abcd", ()),
        "a negative length": ([*post, ("content-length", "-1")], b"abcd", ()),
        "headers of the connection": ([*get, ("connection", "x-real-ip, keep-alive"), ("te", "gzip")], b"", ()),
        "an upgrade": ([*get, ("connection", "upgrade"), ("upgrade", "h2c")], b"", ()),
        "trailers": (post, b"abcd", [("x-forwarded-for", "6.6.6.6"), ("content-length", "0")]),
        "two methods": ([*get, (":method", "POST")], b"", ()),
        "two paths": ([*get, (":path", "/second")], b"", ()),
        "two names": ([*get, (":authority", "6.6.6.6")], b"", ()),
        "two schemes": ([*get, (":scheme", "http")], b"", ()),
        "no method": (get[1:], b"", ()),
        "no path": (get[:3], b"", ()),
        "no scheme": ([get[0], *get[2:]], b"", ()),
        "an empty path": (instead(":path", ""), b"", ()),
        "a path that is none": (instead(":path", "first"), b"", ()),
        "a whole request for a path": (instead(":path", f"/first HTTP/1.1\r\nHost: {name}\r\n\r\n{SMUGGLED}"), b"", ()),
        "words after the path": (instead(":path", "/first HTTP/1.1"), b"", ()),
        "a whole request for a method": (instead(":method", SMUGGLED), b"", ()),
        "a method that is none": (instead(":method", "GET /second"), b"", ()),
        "connect": (instead(":method", "CONNECT"), b"", ()),
        "trace": (instead(":method", "TRACE"), b"", ()),
        "a line of its own in the name": (instead(":authority", f"{name}\r\nx-forwarded-for: 6.6.6.6"), b"", ()),
        "a user before the name": (instead(":authority", f"6.6.6.6@{name}"), b"", ()),
        "a scheme that is none": (instead(":scheme", "gopher://6.6.6.6/"), b"", ()),
        "another name in a header": ([*get, ("host", "6.6.6.6")], b"", ()),
        "a name in a header alone": ([get[0], get[1], get[3], ("host", name)], b"", ()),
        "a method behind the headers": ([*get[1:], ("x", "y"), (":method", "GET")], b"", ()),
        "a word of its own before the headers": ([*get, (":forwarded", "6.6.6.6")], b"", ()),
        "a line that is too long": (instead(":path", "/" + "x" * 20_000), b"", ()),
        "a header that is too long": ([*get, ("x", "y" * 20_000)], b"", ()),
        "too many headers": ([*get, *((f"x{number}", "y" * 500) for number in range(100))], b"", ()),
        # Two bytes each from the second one on, which unpack to sixteen megabytes.
        "one header again and again": ([*get, *[("x", "y" * 4000)] * 4000], b"", ()),
    }
