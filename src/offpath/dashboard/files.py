"""The dashboard's own files: few, read once, and named by their content, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from ..http.messages import Response
from .gate import ALWAYS

KINDS = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"


@cache
def contents() -> Mapping[str, bytes]:
    folder = resources.files(__name__.rpartition(".")[0]) / "static"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in KINDS}


@cache
def version() -> str:
    """Of all of them together: modules import each other by relative names."""
    sums = [f"{name} {hashlib.sha256(body).hexdigest()}" for name, body in sorted(contents().items())]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()[:16]


def serve(path: str) -> Response | None:
    """`path`: VERSION/NAME. A name is looked up, never opened, so no path leads out. None: there is none. The files
    of another version (another process is being replaced) are answered with ours, and not to be kept."""
    known, _, name = path.partition("/")
    body = contents().get(name)
    if body is None:
        return None
    keep = FOREVER if known == version() else "no-store"
    kind = KINDS[name.rpartition(".")[2]]
    return Response(200, [("Content-Type", kind), ("Cache-Control", keep), *ALWAYS], body)
