"""What a task returns when its result is not JSON, or not a plain 200: the answer of its `result` link, as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ..errors import ResultError

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\x20-\x7e\t]*")
_OURS = frozenset(
    {"cache-control", "connection", "content-length", "content-type", "date", "etag", "set-cookie", "trailer"}
    | {"transfer-encoding", "upgrade"}
)  # fields that the server, or this library, answers for


@dataclass(frozen=True)
class Reply:
    """`return Reply(csv, "text/csv", headers={"Content-Disposition": "attachment"})` from a task annotated `-> Reply`.

    The operation's owner gets these bytes, unchanged, with this media type, status and headers at `links.result`; the
    operation itself never shows them. ResultError for headers that are not ours to send or cannot be sent.
    """

    __pydantic_config__: ClassVar[Any] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    body: bytes = b""
    media_type: str = "application/octet-stream"
    status: Literal[200, 201, 204] = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if _VALUE.fullmatch(self.media_type) is None or "/" not in self.media_type:
            raise ResultError(f"a Reply cannot have the media type {self.media_type!r}")
        for name, value in self.headers.items():
            if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None or name.lower() in _OURS:
                raise ResultError(f"a Reply cannot carry the header {name!r}: {value!r}")
        if self.status == 204 and self.body:
            raise ResultError("a Reply with status 204 has no body")
