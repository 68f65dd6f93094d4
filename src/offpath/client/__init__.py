"""A client for operations over HTTP, blocking and async; `pip install "offpath[client]"` is all that its process needs.

    with Client("https://api.example.org", headers={"Authorization": "Bearer …"}) as client:
        report = client.start("POST", "/api/reports", json={"title": "May"}, result=Report)
        for event in report.events():
            print(event.type, report.progress)
        print(report.result().url)

`offpath.js` in this folder is the same for browsers and Node (docs/how-to/client.md).
"""

from importlib.util import find_spec

from ..errors import MissingExtraError

if find_spec("httpx2") is None:
    raise MissingExtraError("offpath.client", "client")

from .aio import AsyncClient, AsyncRemoteOperation
from .decisions import Event, Pace
from .errors import (
    ClientError,
    ForeignLink,
    OperationCanceled,
    OperationEnded,
    OperationFailed,
    RequestRefused,
    UnexpectedAnswer,
    Unreachable,
)
from .sync import Client, RemoteOperation
from .values import Progress

__all__ = [
    "AsyncClient",
    "AsyncRemoteOperation",
    "Client",
    "ClientError",
    "Event",
    "ForeignLink",
    "OperationCanceled",
    "OperationEnded",
    "OperationFailed",
    "Pace",
    "Progress",
    "RemoteOperation",
    "RequestRefused",
    "UnexpectedAnswer",
    "Unreachable",
]
