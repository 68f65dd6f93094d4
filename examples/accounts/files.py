"""Uploaded files: received piece by piece, kept under the id of the job that reads them, and counted."""

import hashlib
import math
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync as in_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

PIECE = 1 << 16  # bytes
MOST_HEADERS = 8  # of the part; what a browser sends has two
UPLOADS = "uploads"
KINDS = (UPLOADS, "reports", "exports")  # folders of `ACCOUNTS_DATA_DIR`; each file is named by its job
YOUNG = 3600.0  # s: what was written since then may belong to a request that has not been answered yet
LETTERS = bytes(b for b in range(256) if chr(b).isalnum() or b > 127 or b == ord("'"))
WORD = re.compile(b"[%s]+" % re.escape(LETTERS))
LONGEST = 64  # bytes; a longer run of letters is not a word


class BadUpload(Exception):
    """What was sent is no upload; `status` is what to answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True)
class Upload:
    """A file that has arrived, whole and durable, and is nobody's yet."""

    path: Path
    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Facts:
    bytes: int
    lines: int
    words: int
    distinct: int
    entropy: float
    sha256: str
    common: list[str]


def path(folder: Path, job: str) -> Path:
    """Where the file of a job is."""
    return folder / UPLOADS / job


async def receive(content_type: str, body: AsyncIterator[bytes], folder: Path) -> Upload:
    """The one part called `file` of a multipart body, on disk; at no moment is more than a piece of it in memory.
    BadUpload for anything else, and then nothing is left behind."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadUpload(415, "A file is sent as multipart/form-data.")
    part = _Part()
    parser = MultipartParser(boundary, part.callbacks())
    draft = await in_thread(Draft, folder)
    try:
        async for piece in body:
            parser.write(piece)
            for data in part.taken():
                await in_thread(draft.write, data)
        parser.finalize()
        part.check()
        return await in_thread(draft.finish, part.filename)
    except FormParserError as error:
        draft.discard()
        raise BadUpload(400, f"The body is no multipart/form-data: {error}") from None
    except BaseException:
        draft.discard()
        raise


class Draft:
    """A file that is still arriving. Its methods block: not for the loop."""

    def __init__(self, folder: Path) -> None:
        folder = folder / UPLOADS
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(suffix=".part", dir=folder)
        self._file = open(handle, "wb")  # noqa: SIM115
        self._path = Path(name)
        self._digest, self._size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        self._file.write(data)

    def finish(self, name: str) -> Upload:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Upload(self._path, name, self._size, self._digest.hexdigest())

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class _Part:
    """What the parser says, in the order in which it says it."""

    def __init__(self) -> None:
        self.filename = ""
        self._data: list[bytes] = []
        self._field, self._value, self._headers = b"", b"", dict[bytes, bytes]()
        self._parts = 0
        self._ended = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._header,
            "on_headers_finished": self._headed,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_end": self._end,
        }

    def taken(self) -> Iterator[bytes]:
        data, self._data = self._data, []
        return iter(data)

    def check(self) -> None:
        if not self._ended:
            raise BadUpload(400, "The body ends in the middle of the file.")
        if self._parts != 1:
            raise BadUpload(422, 'There must be one part, called "file".')

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise BadUpload(422, 'There must be one part, called "file".')

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        if len(self._headers) >= MOST_HEADERS:
            raise BadUpload(400, "The part has too many header fields.")
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _headed(self) -> None:
        _, said = parse_options_header(self._headers.get(b"content-disposition", b""))
        if said.get(b"name") != b"file" or b"filename" not in said:
            raise BadUpload(422, 'There must be one part, called "file", and it must be a file.')
        name = said[b"filename"].decode("utf-8", "replace")
        self.filename = "".join(c for c in name if c.isprintable())[:200]

    def _end(self) -> None:
        self._ended = True


def facts(file: Path, said: Callable[[int], object]) -> Facts:
    """Read it once, in pieces; `said` is told after each how many bytes it was so far. Work for a processor."""
    digest, counted = hashlib.sha256(), Counter[int]()
    words: Counter[bytes] = Counter()
    size = lines = 0
    rest = b""
    with file.open("rb") as source:
        while piece := source.read(PIECE):
            size += len(piece)
            digest.update(piece)
            counted.update(piece)
            lines += piece.count(b"\n")
            text = rest + piece
            whole = text.rstrip(LETTERS)  # a word that touches the end may go on in the next piece
            words.update(_words(whole))
            rest = text[len(whole) :][-LONGEST - 1 :]
            said(size)
    words.update(_words(rest))
    return Facts(
        bytes=size,
        lines=lines,
        words=words.total(),
        distinct=len(words),
        entropy=round(-sum(n / size * math.log2(n / size) for n in counted.values()), 3) if size else 0.0,
        sha256=digest.hexdigest(),
        common=[word.decode("utf-8", "replace") for word, _ in words.most_common(5)],
    )


def _words(text: bytes) -> Iterator[bytes]:
    return (word.lower() for word in WORD.findall(text) if len(word) <= LONGEST)


def old(folder: Path, now: float | None = None) -> list[Path]:
    """The files, uploaded or made, that no request in progress can be about."""
    limit = (time.time() if now is None else now) - YOUNG
    found = []
    for file in (file for kind in KINDS for file in (folder / kind).glob("*")):
        try:
            if file.stat().st_mtime < limit:
                found.append(file)
        except FileNotFoundError:  # somebody else was faster
            continue
    return found
