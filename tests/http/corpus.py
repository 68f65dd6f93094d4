"""Bad requests, byte by byte: name → what a client sends, and which statuses are an answer to it.

`{done}`, `{live}`: operations of alice, who asks; `{theirs}`: one of bob's, which nobody but bob may see anything of.
The A-numbers are those of the attacks in the specification of reliability.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

JSON = "application/json"
ANY = frozenset(range(200, 500))
REFUSED = frozenset({400, 401, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431, 501, 505})
"""501 and 505 are the parser's own word for a transfer coding or a version of HTTP that it does not know."""


class Bad(NamedTuple):
    """raw: all that is sent. With `cut` the server may be left waiting for more, and may close without a word."""

    name: str
    raw: bytes
    allowed: frozenset[int] = REFUSED
    cut: bool = False


def request(target: str | bytes, *fields: str | bytes, method: str = "GET", body: bytes | None = None) -> bytes:
    lines = [method.encode() + b" " + _bytes(target) + b" HTTP/1.1", b"Host: x", b"Authorization: alice"]
    lines += [_bytes(field) for field in fields]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"Connection: close", b"", b""]) + (body or b"")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def paths() -> Iterator[Bad]:
    for rest in (
        "%00",
        "%2f",
        "..%2f..%2fetc%2fpasswd",
        "{done}/none",
        "%ff%fe",
        "%ed%a0%80",
        "{done}%00",
        "{done};x",
        "{done}%0d%0aX:y",
    ):
        yield Bad(f"A26 path {rest}", request(f"/operations/{rest}"))
    for path in (
        "//operations",
        "/operations//",
        "/operations/{done}//events",
        "/%2e%2e/operations/%2e%2e",
        "/" + "a" * 9_000,
    ):
        yield Bad(f"A26 path {path[:40]}", request(path))
    yield Bad("a path as long as a server takes", request("/operations/" + "a" * 60_000))
    yield Bad("a path beyond that", request("/operations/" + "a" * 300_000))
    yield Bad("a path of raw bytes", request(b"/operations/\xff\xfe\x80"))
    yield Bad("another form of target", request("http://evil.example/operations/{theirs}"))
    yield Bad("a target of nothing", request("*", method="OPTIONS"))
    for method in ("TRACE", "CONNECT", "PROPFIND", "get", "G\x00ET", "X" * 5_000):
        yield Bad(f"method {method[:9]!r}", request("/operations/{done}", method=method), ANY)
    for path in ("", "/result", "/events", "/status", "/cancel", "?limit=1", ".json", "%20", "/events?last_event_id=1"):
        yield Bad(f"A15 of somebody else: {path}", request("/operations/{theirs}" + path), frozenset({404, 405}))
    for method, path in (("DELETE", ""), ("POST", "/cancel"), ("POST", ":cancel"), ("HEAD", ""), ("HEAD", "/events")):
        yield Bad(
            f"A15 {method} {path} of somebody else",
            request("/operations/{theirs}" + path, method=method),
            frozenset({404}),
        )
    yield Bad("A15 upper case", request("/operations/{THEIRS}"), frozenset({404}))


def queries() -> Iterator[Bad]:
    bad = frozenset({400})
    for cursor in (
        "",
        "x",
        "A" * 44,
        "A" * 43,
        "-" * 44,
        "%00" * 44,
        "%ff" * 44,
        "A" * 44 + "%00",
        "A" * 9_000,
        "%ED%A0%80",
    ):
        yield Bad(f"cursor {cursor[:12]}", request(f"/operations?cursor={cursor}"), bad)
        yield Bad(
            f"cursor of events {cursor[:12]}",
            request(f"/operations/{{done}}/events?cursor={cursor}", f"Accept: {JSON}"),
            bad,
        )
    for limit in (
        "-1",
        "1e400",
        "NaN",
        "%00",
        "5.",
        "%205",
        "1_000",
        "%EF%BC%95",
        "0x1",
        "-" + "9" * 5_000,
        "1&limit=2",
    ):
        yield Bad(f"A24 limit of a stream {limit[:12]}", request(f"/operations/{{done}}/events?limit={limit}"), bad)
        yield Bad(f"A24 limit {limit[:12]}", request(f"/operations?limit={limit}"), bad)
    yield Bad("A24 limit of 5,000 digits", request("/operations?limit=" + "9" * 5_000), frozenset({200}))
    for at in (
        "NaN",
        "99999-01-01T00:00:00Z",
        "0000-00-00T00:00:00Z",
        "2026-01-01",
        "2026-01-01T00:00:00%2B99:99",
        "9" * 5_000,
        "%00",
    ):
        yield Bad(f"A24 created_after {at[:22]}", request(f"/operations?created_after={at}"), bad)
    for name in ("kind", "label"):
        for text in ("'%20or%201=1--", "%22;drop%20table%20offpath_job;--", "%25", "_", "$.a", "a" * 9_000):
            yield Bad(f"A25 {name} {text[:16]}", request(f"/operations?{name}={text}"), frozenset({200, 400}))
    for query in (
        "status=succeeded'--",
        "%00=1",
        "=",
        "[]=1",
        "tenant=globex",
        "owner=bob",
        "sort=created_at;x",
        "&&&a&&&",
        "a&" * 9_000,
    ):
        yield Bad(
            f"A17 query {query[:20]}", request(f"/operations?{query}"), frozenset({200, 400}) if query == "=" else bad
        )
    for id in (
        "",
        "-1",
        "1e3",
        "9" * 5_000,
        "9" * 15,
        "%00",
        "%D9%A1",
        "1,2",
        "0x1",
        "1%0A2",
        "01a21d7d-80ab-79e8-ad33-c4b6603a2f87",
    ):
        yield Bad(
            f"last_event_id {id[:12]}",
            request(f"/operations/{{done}}/events?last_event_id={id}"),
            frozenset({400}) if id == "%00" else frozenset({200, 204}),
        )


def fields() -> Iterator[Bad]:
    for id in (b"\xff\xfe", b"9" * 5_000, b"", b"1\t2", b"1, 2", b"-0", b"{done}", b"{theirs}:1"):
        yield Bad(
            f"Last-Event-ID {id[:12]!r}",
            request("/operations/{done}/events", b"Last-Event-ID: " + id),
            frozenset({200, 204}),
        )
    for name in (
        "Prefer",
        "Accept",
        "If-None-Match",
        "If-Match",
        "Traceparent",
        "Tracestate",
        "Idempotency-Key",
        "Origin",
        "Cookie",
    ):
        for value in (
            b"\xff\xfe\x80",
            b'"' * 5_000,
            b'"\\' * 8_000,
            b'a="b',
            b"," * 5_000,
            b";=;," * 2_000,
            b"wait=" + b"9" * 5_000,
        ):
            raw = request("/operations/{done}", name.encode() + b": " + value)
            yield Bad(f"{name} {value[:8]!r}", raw, ANY)
            raw = request(
                "/start/echo",
                name.encode() + b": " + value,
                "Content-Type: " + JSON,
                method="POST",
                body=b'{"value": 1}',
            )
            yield Bad(f"{name} {value[:8]!r} at a start", raw, ANY)
    for char in (b"\r", b"\n", b"\x00", b"\r\n"):
        raw = request(
            "/start/echo",
            b'Idempotency-Key: "a' + char + b'b"',
            "Content-Type: " + JSON,
            method="POST",
            body=b'{"value": 1}',
        )
        yield Bad(f"A14 Idempotency-Key with {char!r}", raw, ANY)
    for accept in ("text/plain", "application/json;q=0", ";q=1", "*/*;q=0", "text/event-stream;q=0.000"):
        yield Bad(f"Accept {accept}", request("/operations/{done}/events", f"Accept: {accept}"), frozenset({200, 406}))
    yield Bad("many fields", request("/operations/{done}", *(f"X-{n}: {n}" for n in range(3_000))), ANY)
    yield Bad("a long field", request("/operations/{done}", "X: " + "a" * 60_000), ANY)
    yield Bad("two hosts", request("/operations/{done}", "Host: evil.example"), ANY)
    yield Bad("a name with a space", request("/operations/{done}", "Authorization : bob"), ANY)
    yield Bad("a folded field", request("/operations/{done}", "X: a\r\n Authorization: bob"), ANY)
    yield Bad("no colon", request("/operations/{done}", "Nothing"))
    yield Bad("authorization twice", request("/operations/{theirs}", "Authorization: bob"), ANY - {200})
    yield Bad(
        "a caller of raw bytes",
        b"GET /operations HTTP/1.1\r\nHost: x\r\nAuthorization: \xff\xfe\r\nConnection: close\r\n\r\n",
        ANY,
    )
    yield Bad("nobody", b"GET /operations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", frozenset({401}))
    yield Bad(
        "an upgrade",
        request("/operations/{done}", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"),
        ANY,
    )


NUMBERS = {
    "A05 NaN": "NaN",
    "A05 Infinity": "Infinity",
    "A05 -Infinity": "-Infinity",
    "A05 1e400": "1e400",
    "A05 -1e400": "-1e400",
}
EXACT = {"A06 2^53+1": str(2**53 + 1), "A06 2^63": str(2**63), "A06 2^64": str(2**64), "A06 4,000 digits": "9" * 4_000}
TEXTS = {"A07 NUL": '"a\\u0000b"', "A08 a lone surrogate": '"\\ud800"', "A08 the other half": '"\\udc00x"'}


def documents() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """JSON that is none, or that no store takes."""
    malformed, invalid = frozenset({400}), frozenset({400, 422})
    yield "A04 arrays, 100,000 deep", b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", frozenset({400, 413, 422})
    yield (
        "A04 objects, 100,000 deep",
        b'{"value": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        frozenset({400, 413, 422}),
    )
    yield "A04 an array, 900 deep", b'{"value": ' + b"[" * 900 + b"]" * 900 + b"}", frozenset({202, 400, 422})
    for name, text in NUMBERS.items():
        yield name, f'{{"value": {text}}}'.encode(), invalid
        yield f"{name}, inside", f'{{"value": [{{"a": {text}}}]}}'.encode(), invalid
    yield "A06 5,000 digits", b'{"value": ' + b"9" * 5_000 + b"}", invalid
    for name, text in EXACT.items():
        yield name, f'{{"value": {text}}}'.encode(), frozenset({202, 400, 422})
    for name, text in TEXTS.items():
        yield name, f'{{"value": {text}}}'.encode(), frozenset({202, 400, 422})
        yield f"{name}, as a name", f'{{"value": {{{text}: 1}}}}'.encode(), frozenset({202, 400, 422})
        yield f"{name}, as an argument", f"{{{text}: 1}}".encode(), frozenset({400, 422})
    yield "UTF-16", '{"value": 1}'.encode("utf-16"), frozenset({202, 400, 422})
    yield "A09 a name twice", b'{"value": 1, "value": 2}', frozenset({202, 400, 422})
    yield "A13 control characters and bidi", json.dumps({"value": "\x1b[2J\u202e\r\n"}).encode(), frozenset({202})
    for name, body in {
        "nothing": b"",
        "white space": b" \n",
        "a mark of order": b"\xef\xbb\xbf{}",
        "no UTF-8": b'{"value": "\xff"}',
        "overlong UTF-8": b'{"value": "\xc0\xaf"}',
        "more after it": b'{"value": 1} x',
        "half of it": b'{"value": ',
        "a raw NUL": b'{"value": "\x00"}',
        "single quotes": b"{'value': 1}",
        "an array": b"[1]",
        "null": b"null",
        "a number": b"7",
        "a name without quotes": b"{value: 1}",
        "a comma too many": b'{"value": 1,}',
    }.items():
        yield name, body, malformed | {422}
    yield "100,000 members", json.dumps({str(n): n for n in range(60_000)}).encode(), frozenset({413, 422})
    yield "beyond the cap", b'{"value": "' + b"a" * (1 << 20) + b'"}', frozenset({413})


def bodies() -> Iterator[Bad]:
    for name, body, allowed in documents():
        yield Bad(name, request("/start/echo", f"Content-Type: {JSON}", method="POST", body=body), allowed)
        if body:
            raw = request("/operations/{live}/cancel", f"Content-Type: {JSON}", method="POST", body=body)
            yield Bad(f"{name}, as a reason", raw, ANY)
    bomb = gzip.compress(b'{"value": "' + b"0" * (50 << 20) + b'"}')
    for target, kind, encoding, body in (
        ("/start/echo", JSON, "gzip", bomb),
        ("/start/echo", JSON, "br", b"\x00"),
        ("/start/echo", "application/json; charset=utf-7", "", b"+AHs-}"),
        ("/start/echo", "", "", b'{"value": 1}'),
        ("/start/echo", "\xff", "", b'{"value": 1}'),
        ("/start/echo", 'a/b; charset="', "", b"{}"),
        ("/start/echo", "multipart/form-data", "", b"--x"),
        ("/start/echo", "multipart/form-data; boundary=" + "x" * 5_000, "", b"--x\r\n\r\n"),
        ("/start/echo", "application/x-www-form-urlencoded", "", b"value=1"),
        ("/operations/{live}/cancel", "text/plain", "", b'{"reason": "x"}'),
        ("/operations/{live}/cancel", "application/json; charset=utf-7", "", b"+AHs-}"),
        ("/operations/{live}/cancel", JSON, "gzip", bomb[:60_000]),
    ):
        more = [f"Content-Encoding: {encoding}"] if encoding else []
        yield Bad(
            f"A10 {kind[:40]} {encoding} {target[-6:]}",
            request(target, f"Content-Type: {kind}", *more, method="POST", body=body),
        )
    yield Bad(
        "two content types",
        request(
            "/start/echo", "Content-Type: text/plain", f"Content-Type: {JSON}", method="POST", body=b'{"value": 1}'
        ),
        ANY,
    )


def half(name: str, raw: bytes, allowed: frozenset[int] = ANY) -> Bad:
    return Bad(name, raw, allowed, cut=True)


def framing() -> Iterator[Bad]:
    """A10, A14: lengths that lie, chunks that are none. What the parser lets through must not act on half a body."""
    for length in ("99", "3", "-1", "+5", "0x10", "1, 2", "9" * 30, "", "5 5"):
        raw = (
            request("/operations/{live}/cancel", f"Content-Type: {JSON}", f"Content-Length: {length}", method="POST")
            + b'{"reason": "half"}'
        )
        yield half(f"A14 Content-Length {length[:9]}", raw)
        yield half(
            f"A14 Content-Length {length[:9]} at a start",
            raw.replace(b"/operations/{live}/cancel", b"/start/echo"),
            ANY,
        )
    both = request(
        "/start/echo", f"Content-Type: {JSON}", "Transfer-Encoding: chunked", "Content-Length: 4", method="POST"
    )
    yield half("A14 both lengths", both + b"0\r\n\r\nGET /operations/{theirs} HTTP/1.1\r\n\r\n", ANY | {501})
    for coding in (
        "chunked, identity",
        "gzip, chunked",
        "xchunked",
        "chunked\r\nTransfer-Encoding: identity",
        "\x0bchunked",
    ):
        raw = request("/start/echo", f"Content-Type: {JSON}", f"Transfer-Encoding: {coding}", method="POST")
        yield half(f"A14 Transfer-Encoding {coding[:20]!r}", raw + b"0\r\n\r\n", ANY | {501})
    for chunk in (
        b"-1\r\nx",
        b"f" * 20 + b"\r\nx",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"a" * 60_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhel",
        b"zz\r\n",
    ):
        raw = request("/operations/{live}/cancel", f"Content-Type: {JSON}", "Transfer-Encoding: chunked", method="POST")
        yield half(f"A14 chunk {chunk[:8]!r}", raw + chunk)
    trailers = b"".join(b"X-%d: a\r\n" % n for n in range(9_000))
    raw = request("/start/echo", f"Content-Type: {JSON}", "Transfer-Encoding: chunked", method="POST")
    yield half("a flood of trailers", raw + b'c\r\n{"value": 1}\r\n0\r\n' + trailers + b"\r\n")
    for name, start in {
        "HTTP/0.9": b"GET /operations\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        "noise": bytes(range(256)) * 4,
        "line feeds": b"\n" * 5_000,
        "no host": b"GET /operations HTTP/1.1\r\nConnection: close\r\n\r\n",
        "HTTP/1.0": b"GET /operations/{theirs} HTTP/1.0\r\nAuthorization: alice\r\n\r\n",
    }.items():
        yield half(name, start, ANY | {501, 505})


GROUPS: dict[str, Callable[[], Iterator[Bad]]] = {
    "paths": paths,
    "queries": queries,
    "fields": fields,
    "bodies": bodies,
    "framing": framing,
}
