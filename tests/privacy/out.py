"""What has come out, by where; and a receiver of webhooks that answers with what it should not."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Collection

CANARY = "canary-Q7zv-4242"
WORDS = ("canary", "424242")


class Out:
    """What has come out, by where; `words`: what else may not, besides WORDS."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.words: list[str] = []

    def __call__(self, where: str, text: object) -> None:
        self.texts.setdefault(where, []).append(text if isinstance(text, str) else repr(text))

    def leaks(self, but: Collection[str] = ()) -> dict[str, list[str]]:
        """Where a canary sings: plainly, as JSON, as base64, as hexadecimal. `but`: words that are not looked for."""
        words = [*WORDS, base64.b64encode(CANARY.encode()).decode().rstrip("=")[:-1], CANARY.encode().hex()]
        words += [word for word in self.words if word not in but]
        found = {
            where: [text[max(0, at - 150) : at + 50] for text in texts for w in words if (at := text.find(w)) >= 0]
            for where, texts in self.texts.items()
        }
        return {where: lines for where, lines in found.items() if lines}


class Receiver:
    """Of webhooks: answers 204, below /bad 500 with a body that tells a secret."""

    def __init__(self, out: Out) -> None:
        self.out = out
        self.url = ""
        self.got: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            size = next((line for line in head.split("\r\n") if line.lower().startswith("content-length:")), "x:0")
            body = (await reader.readexactly(int(size.partition(":")[2]))).decode()
            path = head.split(" ")[1]
            self.got.append(path)
            said = [line for line in head.split("\r\n") if not line.lower().startswith(("authorization:", "post "))]
            self.out("webhooks", "\n".join([*said, body]))
            answer = "token=canary-snippet and password: canary-snippet" if path.startswith("/bad") else ""
            status = 500 if answer else 204
            writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: {len(answer)}\r\n\r\n{answer}".encode())
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def receiving(out: Out) -> AsyncIterator[Receiver]:
    made = Receiver(out)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
