"""What may be shown to somebody who has not asked for values, and what is cut out of texts that leave. Pure.

Views show shapes and lengths (`arguments`, `result`); what is stored as a Secret stays masked in every one of them
(`masked`). Texts (errors, log lines, progress) lose what looks like a credential and the values that are known to be
secret (`Scrubber`). This is the only place with patterns; each of them is linear in the length of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ..errors import ConfigurationError
from . import bulk

SECRET, SEALED = "$secret", "$sealed"
"""A Secret as it is stored: an object with this one member, which holds the value, or the value sealed."""
MASK = "Secret(…)"
CUT = "[redacted]"
SHORTEST = 4  # a known value of fewer characters is everywhere, and cutting it would tell more than it hides
LONGEST = 256 * 1024  # characters of one text that are looked at; what is longer is cut there

# -- views ------------------------------------------------------------------------------------------------------------


def shape(value: object) -> str:
    """One value in words: `text, 17 characters`. Nothing of it can be read from that, and no key of a mapping."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return f"text, {_many(len(value), 'character')}"
    if isinstance(value, list | tuple):
        return f"list, {_many(len(value), 'item')}"
    if isinstance(value, dict):
        return MASK if _is_secret(value) else f"object, {_many(len(value), 'member')}"
    return "something else"


def called(task: str, args: str | None, came: str | None, *, full: bool) -> tuple[bool, Any, Any]:
    """Of a job: (whether the others are shapes, its arguments, its result). Those of a change of many jobs are ours,
    and in the audit log besides."""
    if full or task == bulk.TASK:
        return False, plain(args), plain(came)
    return True, arguments(args), result(came)


def arguments(text: str | None) -> dict[str, str] | str | None:
    """Stored arguments, redacted: the name of each parameter (it is in the code) and its shape. None: erased."""
    if text is None:
        return None
    data = _loaded(text)
    return {str(name): shape(value) for name, value in data.items()} if isinstance(data, dict) else shape(data)


def result(text: str | None) -> str | None:
    """A stored result, redacted. None: there is none."""
    return None if text is None else shape(_loaded(text))


def plain(text: str | None) -> Any:
    """Stored JSON as data, its Secrets masked; text that is none (it should not be there) as it is."""
    if text is None:
        return None
    return _masked(_loaded(text)) if _marked(text) else _loaded(text)


def options(text: str | None) -> Any:
    """The options of a job, as data."""
    said = plain(text)
    if isinstance(said, dict) and isinstance(said.get("callback"), str):
        said["callback"] = place(said["callback"])
    return said


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def masked(text: str) -> str:
    """Stored JSON with its Secrets masked: the same text when there are none."""
    if not _marked(text):
        return text
    return json.dumps(plain(text), ensure_ascii=False, separators=(",", ":"))


def _marked(text: str) -> bool:
    return "$se" in text or "\\u0024se" in text


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return MASK if _is_secret(value) else {name: _masked(one) for name, one in value.items()}
    return [_masked(one) for one in value] if isinstance(value, list) else value


def _is_secret(value: dict[Any, Any]) -> bool:
    return len(value) == 1 and (SECRET in value or SEALED in value)


def _many(count: int, of: str) -> str:
    return f"{count} {of}" if count == 1 else f"{count} {of}s"


# -- texts ------------------------------------------------------------------------------------------------------------

_NAMES = (
    r"passw(?:or)?d|passphrase|pwd|(?:client_)?secret|(?:access_|refresh_|id_|auth_)?token|api[_-]?key|access[_-]key"
)
_RUN = r"[A-Za-z0-9_\-]"
_BASE64 = r"[A-Za-z0-9+/=_\-]"
_PATTERNS = (
    # user:password@ of a URL: the user too, it may be a token.
    (r"(?<=://)[^\s/?#@\"'<>]{1,1024}@(?=\S)", f"{CUT}@"),
    (
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:[^-]|-(?!----)){0,16384}(?:-----END [A-Z0-9 ]{0,40}-----)?",
        CUT,
    ),
    (r"\b((?:proxy-)?authorization|(?:set-)?cookie)([\"']?\s{0,4}[:=]\s{0,4}[\"']?)[^\r\n\"']{1,8192}", rf"\1\2{CUT}"),
    (r"\b(bearer|basic|dpop)\s{1,4}[A-Za-z0-9._~+/=\-]{6,8192}", rf"\1 {CUT}"),
    (rf"\bwh(?:sec|sk|pk)_{_BASE64}{{6,1024}}|\bv1a?,{_BASE64}{{40,1024}}", CUT),
    (rf"(?<!{_RUN})eyJ{_RUN}{{6,8192}}\.{_RUN}{{2,8192}}\.{_RUN}{{0,8192}}", CUT),
    (r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b", CUT),
    (
        r"\b(?:[srp]k_(?:live|test)_[A-Za-z0-9]{8,256}|gh[pousr]_[A-Za-z0-9]{20,256}|xox[abprs]-[A-Za-z0-9\-]{10,256})",
        CUT,
    ),
    (
        rf"((?:\b|_)(?:{_NAMES})(?:\\?[\"'])?\s{{0,4}}[:=]\s{{0,4}}\\?[\"']?)(?!\[redacted\])"
        r"[^\s\"'&,;\\)}\]]{1,8192}",
        rf"\1{CUT}",
    ),
)
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in _PATTERNS)
# Most texts have nothing of it: one look at them, in lower case.
_WORDS = (
    "://",
    "-----begin",
    "authorization",
    "cookie",
    "bearer",
    "basic",
    "dpop",
    "whsec_",
    "whsk_",
    "whpk_",
    "v1,",
    "v1a,",
    "eyj",
    "akia",
    "asia",
    "abia",
    "acca",
    "_live_",
    "_test_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "xox",
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
)
_LIKELY = re.compile("|".join(map(re.escape, _WORDS))).search


class Scrubber:
    """Cuts credentials out of texts.

    patterns  the application's own, regular expressions: what they match is cut as well
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(patterns)
        self._own = tuple(compiled(one) for one in self.patterns)

    def text(self, text: str, values: Iterable[str] = ()) -> str:
        """The text without what looks like a credential, and without `values`; of a very long one, its beginning."""
        if len(text) > LONGEST:
            text = text[:LONGEST] + "…"
        for value in values:
            if value in text:
                text = _without(text, value)
        for pattern in self._own:
            text = pattern.sub(CUT, text)
        if _LIKELY(text.lower()) is not None:
            for pattern, instead in _COMPILED:
                text = pattern.sub(instead, text)
        return text

    def json(self, text: str, values: Iterable[str] = ()) -> str:
        """JSON text, each string in it scrubbed; a number that is one of the values is cut too. Keys are left."""
        values = tuple(values)
        if self.text(text, values) == text and not any(ord(c) > 126 or c in '"\\' for v in values for c in v):
            return text  # nothing in it, however it is spelt
        data = json.loads(text)
        scrubbed = self.data(data, values)
        return text if scrubbed == data else json.dumps(scrubbed, ensure_ascii=False)

    def data(self, value: Any, values: Iterable[str] = ()) -> Any:
        """Plain data, each string in it scrubbed."""
        if isinstance(value, str):
            return self.text(value, values)
        if isinstance(value, dict):
            return {name: self.data(one, values) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(one, values) for one in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in values:
            return CUT
        return value


def _without(text: str, value: str) -> str:
    if len(value) >= 6:
        return text.replace(value, CUT)
    return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", CUT, text)  # so short: only by itself


def compiled(pattern: object) -> re.Pattern[str]:
    """One of the application's own patterns. ConfigurationError for what is no regular expression, or matches ""."""
    if not isinstance(pattern, str) or not pattern:
        raise ConfigurationError("redact takes regular expressions as text")
    try:
        made = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigurationError(f"redact: {pattern[:80]!r} is no regular expression: {error}") from None
    if made.search("") is not None:
        raise ConfigurationError(f"redact: {pattern[:80]!r} matches the empty text, so it would be everywhere")
    return made


def url(text: str) -> str:
    """A URL that may be shown: without user and password, and without what its query may hold of them. Of one that is
    not well formed rather too much is cut."""
    scheme, sign, rest = text.partition("://")
    if sign and "@" in rest:
        text = f"{scheme}://{CUT}@{rest.rpartition('@')[2]}"
    return _ALONE.text(text)


def place(text: str) -> str:
    """Where a webhook goes, for those whose it is not: without its query, which often is what opens the door."""
    front, sign, _ = text.partition("?")
    return url(front) + (f"?{CUT}" if sign else "")


def scrubbed(text: str) -> str:
    """A text without what looks like a credential."""
    return _ALONE.text(text)


_ALONE = Scrubber()
