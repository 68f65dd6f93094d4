"""`serve` and its like, forked from `tests.nursery` and spoken to as any `Child` is: most of what their start costs is
the imports."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import cast

from examples.accounts.processes import Child
from tests import nursery

IMPORTED = (
    *nursery.OFFPATH, "cronsim", "examples.accounts.docs_ui", "examples.accounts.mail", "examples.accounts.schemas",
    "examples.accounts.webserver", "fastapi", "jsonpatch", "offpath.admin.routes", "offpath.client",
    "offpath.integrations.fastapi.dashboard", "offpath.webhooks.facade", "offpath.webhooks.routes",
    "uvicorn.lifespan.on",
)  # fmt: skip
"""What asks for no setting."""


class Forked:
    """The part of `asyncio.subprocess.Process` that `Child` uses. What it says is one stream, as there."""

    def __init__(self, child: nursery.Child, stdout: asyncio.StreamReader, end: "asyncio.Future[None]", stdin: int):
        self.pid = child.pid
        self.stdout = stdout
        self.send_signal, self.terminate, self.kill = child.send_signal, child.terminate, child.kill
        self._child, self._end, self._stdin = child, end, stdin

    @property
    def returncode(self) -> int | None:
        return self._child.poll()

    async def wait(self) -> int:
        await asyncio.shield(self._end)
        code = self._child.wait(nursery.PATIENCE)  # nobody has its output open any more: it is at its end
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1
        return code


async def start(*command: str, env: dict[str, str]) -> Child:
    """As `Child.start`. Not for tests of an interpreter's start, or of signals to whole sessions."""
    folder = Path(tempfile.mkdtemp(prefix="offpath-forked-"))
    try:
        said, told = folder / "said", folder / "told"
        os.mkfifo(said, 0o600)
        os.mkfifo(told, 0o600)
        listening = os.open(said, os.O_RDONLY | os.O_NONBLOCK)
        stdin = os.open(told, os.O_RDWR)  # it ends when we do, and waits for nobody until then
        loop = asyncio.get_running_loop()
        stdout, end = asyncio.StreamReader(), loop.create_future()

        class Heard(asyncio.StreamReaderProtocol):
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                end.set_result(None)

        # Before it is listened to: a pipe that nobody has opened to write to is at its end.
        child = nursery.nursery(*IMPORTED).start(
            ["-m", *command], nursery.ROOT, {**os.environ, "PYTHONUNBUFFERED": "1", **env}, said, said, told
        )
        await loop.connect_read_pipe(lambda: Heard(stdout), os.fdopen(listening, "rb", 0))
    finally:
        shutil.rmtree(folder)
    return Child(cast("asyncio.subprocess.Process", Forked(child, stdout, end, stdin)), echo=False)
