"""What stands between a client and PostgreSQL, and what goes wrong there: see `Proxy`."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

KEY, NOTIFICATION = b"K", b"A"  # messages of the server


class Proxy:
    """A TCP proxy in front of the server at `url`; its own address is in `Proxy.url`.

    silent   nothing passes any more, either way, and nobody is told (a line half open)
    mute     the server's notifications are dropped
    pooling  clients are told a made-up process id, as a pooler does
    said     every byte that clients sent
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 5432)
        self.silent = self.mute = self.pooling = False
        self.said = bytearray()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._gate: socket.socket | None = None
        self._kept = socket.socket()  # keeps the port ours while nobody listens there
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind(("127.0.0.1", 0))
        self._port: int = self._kept.getsockname()[1]
        user = (parts.netloc.rpartition("@")[0] + "@").lstrip("@")
        self.url = parts._replace(netloc=f"{user}127.0.0.1:{self._port}", query="sslmode=disable").geturl()

    def gate(self) -> socket.socket:
        """Where clients knock, for as long as the proxy is down."""
        return socket.create_server(("127.0.0.1", self._port), reuse_port=True)

    def up(self) -> "Proxy":
        self._gate = self.gate()
        self._start(self._accept, self._gate)
        return self

    def down(self) -> None:
        """Refuse connections and end those there are."""
        gate, self._gate = self._gate, None
        for sock in [*self._open, *([gate] if gate else [])]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        self._threads.clear()

    def close(self) -> None:
        self._kept.close()

    def _start(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, gate: socket.socket) -> None:
        with gate:
            while True:
                try:
                    client, _ = gate.accept()
                except OSError:
                    return
                server = socket.create_connection(self._server)
                self._open |= {client, server}
                self._start(self._forth, client, server)
                self._start(self._back, server, client)

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                self.said += data
                if not self.silent:
                    server.sendall(data)
        self._end(client, server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        silenced = False  # what is lost once stays lost: the rest of the stream would make no sense
        with contextlib.suppress(OSError), server.makefile("rb") as stream:
            while len(head := stream.read(5)) == 5:
                kind, length = struct.unpack("!ci", head)
                body = stream.read(length - 4)
                silenced |= self.silent
                if kind == KEY and self.pooling:
                    body = struct.pack("!i", 1) + body[4:]
                if not silenced and not (kind == NOTIFICATION and self.mute):
                    client.sendall(head + body)
        self._end(server, client)

    def _end(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
        self._open.discard(one)
        one.close()
