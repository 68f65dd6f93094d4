"""What stands between a client and a server, and goes wrong when it is told to: see `Proxy`."""

import contextlib
import selectors
import socket
import struct
import threading
from typing import Self
from urllib.parse import urlsplit

from .server import free_port

USUAL = {"postgresql": 5432, "redis": 6379, "amqp": 5672, "kafka": 9092}
"""Ports that a URL may leave out."""
LINGER = struct.pack("ii", 1, 0)
"""A connection with this is closed by a reset, as when the other machine has gone."""


class Proxy:
    """A TCP proxy on 127.0.0.1 in front of the server at `url`; `Proxy.url` is the same URL through it.

    It runs in threads of its own, from its making until `close`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or USUAL[parts.scheme])
        self.port = free_port()
        user = (parts.netloc.rpartition("@")[0] + "@").lstrip("@")
        self.url = parts._replace(netloc=f"{user}127.0.0.1:{self.port}").geturl()
        self._guard = threading.Lock()
        self._passing: set[socket.socket] = set()
        self._gate: socket.socket | None = None
        self._deaf = False
        self.connections = 0
        """How many have been made through it."""
        self.restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def cut(self) -> None:
        """Refuse connections and reset those there are."""
        with self._guard:
            gate, self._gate = self._gate, None
            passing, self._passing = self._passing, set()
        if gate is not None:
            with contextlib.suppress(OSError):
                gate.shutdown(socket.SHUT_RDWR)  # wakes its thread
            gate.close()
        for sock in passing:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                sock.shutdown(socket.SHUT_RDWR)

    def deaf(self) -> None:
        """Accept connections and keep them, and let nothing pass any more, either way: a line that is half open."""
        self._deaf = True

    def restore(self) -> None:
        """Let everybody pass. Connections that were deaf are reset: what was swallowed does not come back."""
        if self._deaf:
            self.cut()
        with self._guard:
            self._deaf = False
            if self._gate is None:
                self._gate = gate = socket.create_server(("127.0.0.1", self.port))
                threading.Thread(target=self._accept, args=(gate,), name="proxy", daemon=True).start()

    def close(self) -> None:
        self.cut()

    def _accept(self, gate: socket.socket) -> None:
        while True:
            try:
                client, _ = gate.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(gate, client), name="proxy", daemon=True).start()

    def _carry(self, gate: socket.socket, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._server, timeout=10) as server:
            server.settimeout(None)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._guard:
                if self._gate is not gate:
                    return
                self._passing |= {client, server}
                self.connections += 1
            try:
                self._pass(client, server)
            finally:
                with self._guard:
                    self._passing -= {client, server}

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, (client, server))
            ready.register(server, selectors.EVENT_READ, (server, client))
            while True:
                for key, _ in ready.select():
                    one, other = key.data
                    data = one.recv(65_536)
                    if not data:
                        return
                    if not self._deaf:
                        other.sendall(data)
