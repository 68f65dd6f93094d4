"""The header fields of a webhook: which of them somebody else may add, and what else is sent with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..errors import ConfigurationError

MOST = 8192  # bytes of all the fields somebody adds
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_VALUE = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")  # visible ASCII; no CR, no LF, no space at its ends

FIXED = {
    "user-agent": f"offpath/{__version__}",
    "accept": "*/*",
    "accept-encoding": "identity",
    "connection": "close",
}
"""On every request."""
OURS = frozenset(
    {*FIXED, "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "te", "trailer",
     "upgrade", "keep-alive", "expect"}
)  # fmt: skip
"""What nobody else sets, besides `webhook-*` and `proxy-*` (WHK-28)."""


def check_headers(extra: Mapping[str, Any]) -> dict[str, str]:
    """Fields that may be added to webhooks, names in lower case; ConfigurationError for what may not."""
    found: dict[str, str] = {}
    for name, value in extra.items():
        if not _TOKEN.fullmatch(name):
            raise ConfigurationError("a header name is a token of RFC 9110, at most 128 characters")
        lower = name.lower()
        if lower in OURS or lower.startswith(("webhook-", "proxy-")):
            raise ConfigurationError(f"the header {lower} is not yours to set")
        if lower in found:
            raise ConfigurationError(f"the header {lower} is given twice")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ConfigurationError(f"the value of the header {lower} is not visible ASCII")
        found[lower] = value
    if sum(len(name) + len(value) for name, value in found.items()) > MOST:
        raise ConfigurationError(f"the added headers are larger than {MOST} bytes together")
    return found


def merged(host: str, ours: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """All the fields of one request, names in lower case: what is ours wins. ConfigurationError for a bad one."""
    for name, value in ours.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ConfigurationError(f"the value of the header {name} is not visible ASCII")
    return check_headers(extra) | {name.lower(): value for name, value in ours.items()} | FIXED | {"host": host}
