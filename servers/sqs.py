"""What stands in for SQS: the server of the package `moto`, in a process of its own. It keeps everything in memory."""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from .postgres import Unavailable
from .server import Program, answers

REGION = "us-east-1"
CODE = """
import logging, sys, threading
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
from moto.sqs.models import Queue
delete = Queue.delete_message
def delete_message(self, receipt_handle):  # it makes the list anew: what another thread adds meanwhile would be lost
    with self._messages_lock:
        delete(self, receipt_handle)
Queue.delete_message = delete_message
ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False).start()
threading.Event().wait()
"""


class Sqs(Program):
    """`kill` and `start` again leave it empty."""

    name = "sqs"

    def __init__(self, home: Path, *, port: int | None = None) -> None:
        if find_spec("moto") is None:
            raise Unavailable("the package moto is not installed")
        super().__init__(home, port=port)

    @property
    def url(self) -> str:
        return f"sqs://offpath:offpath@127.0.0.1:{self.port}/{REGION}"

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        return [sys.executable, "-c", CODE, str(self.port)], {}

    def _ready(self) -> bool:
        return answers(self.port, b"GET /moto-api/ HTTP/1.0\r\n\r\n", b"HTTP/1.1 200")
