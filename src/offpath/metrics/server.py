"""The pages of a worker: a small server in threads of its own, which answers also when the worker's loop does not."""

from __future__ import annotations

import contextlib
import hmac
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socket import AF_INET6
from typing import Any

from ..app import Offpath
from ..errors import ConfigurationError, MissingExtraError
from ..observe import signal
from ..observe.pulse import pulses
from . import health
from .look import Look
from .web import TOKEN, Metrics

PATIENCE = 5.0  # s for a client to say what it wants


class _Handler(BaseHTTPRequestHandler):
    metrics: Metrics | None
    look: Look
    token: bytes | None

    server_version, sys_version = "offpath", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            self._say(health.alive(pulses()))
        elif path == "/readyz":
            self._say(health.ready(pulses(), self.look.now().error, worker=True))
        elif path == "/metrics":
            self._page()
        else:
            self._refuse(404, "there are /metrics, /livez and /readyz")

    do_HEAD = do_GET

    def _page(self) -> None:
        if self.token is not None:
            kind, _, said = self.headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(said.strip().encode(), self.token):
                self._refuse(403, "a bearer token is needed")
                return
        if self.metrics is None:
            self._refuse(501, str(MissingExtraError("a page of metrics", "metrics")))
            return
        kind, body = self.metrics.page(self.headers.get("accept", ""))
        self._send(200, kind, body)

    def _say(self, said: health.Verdict) -> None:
        self._send(said.status, said.kind, said.body)

    def _refuse(self, status: int, why: str) -> None:
        self._send(status, health.PROBLEM, health.problem(status, why))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds, and say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone in the middle of it."""


class _Server6(_Server):
    address_family = AF_INET6


@contextlib.contextmanager
def serving(jobs: Offpath, port: int, bind: str = "127.0.0.1") -> Iterator[int]:
    """`/metrics`, `/livez` and `/readyz` of the workers of this process, as long as the block lasts; gives the port.

    bind  the address to listen on: only this machine, unless another one is said. Prometheus and the probes of
          Kubernetes come from elsewhere: 0.0.0.0. With OFFPATH_METRICS_TOKEN set, `/metrics` asks for it.

    ConfigurationError when nobody can listen there.
    """
    if not 0 <= port <= 65_535:
        raise ConfigurationError(f"--port is 0 to 65535, not {port}")
    try:
        kind = _Server6 if ip_address(bind).version == 6 else _Server
    except ValueError:
        raise ConfigurationError(f"--bind is an address, as 127.0.0.1 or 0.0.0.0, not {bind!r}") from None
    token = os.environ.get(TOKEN)
    try:
        metrics: Metrics | None = Metrics(jobs)
    except MissingExtraError:
        metrics = None  # the probes need nothing else
    look = Look(lambda: jobs.store, counting=False)
    own = {"metrics": metrics, "look": look, "token": None if token is None else token.encode()}
    handler = type("Handler", (_Handler,), own)
    try:
        server = kind((bind, port), handler)
    except OSError as error:
        raise ConfigurationError(f"nothing can listen on {bind}:{port}: {error.strerror or error}") from error
    thread = threading.Thread(target=server.serve_forever, name="offpath-pages", daemon=True)
    thread.start()
    host = f"[{bind}]" if ":" in bind else bind
    signal("app.pages", url=f"http://{host}:{server.server_address[1]}")
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
