"""A load generator for one POST endpoint: raw HTTP/1.1 on keep-alive connections, one request in flight on each."""

from __future__ import annotations

import asyncio
import sys
import time

BODY = b'{"period":"2026-11","pages":3}'


class Connection(asyncio.Protocol):
    """Sends the next request when the last answer is whole; counts answers and notes how long each took."""

    def __init__(self, request: bytes, expect: bytes, waits: list[float]):
        self.request, self.expect, self.waits = request, expect, waits
        self.buffer = b""
        self.at = 0.0
        self.stopped = False
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.at = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        if len(rest) < length:
            return
        if not head.startswith(self.expect):
            self.done.set_exception(SystemExit(f"unexpected answer: {self.buffer[:300]!r}"))
            return
        self.waits.append(time.perf_counter() - self.at)
        self.buffer = b""
        if self.stopped:
            self.transport.close()
            self.done.set_result(None)
        else:
            self.send()


async def load(port: int, path: str, seconds: float, connections: int = 32, status: int = 202) -> dict[str, float]:
    """Requests per second and latencies in ms of `connections` clients for `seconds`."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer dev\r\nContent-Length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    made = [
        (
            await loop.create_connection(
                lambda: Connection(request, f"HTTP/1.1 {status}".encode(), waits), "127.0.0.1", port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    count, took = len(waits), time.perf_counter() - begun
    for one in made:
        one.stopped = True
    await asyncio.gather(*(one.done for one in made))
    waits.sort()
    return {
        "value": count / took,
        "p50": waits[len(waits) // 2] * 1000,
        "p99": waits[int(len(waits) * 0.99)] * 1000,
        "count": count,
    }


if __name__ == "__main__":
    print(asyncio.run(load(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
