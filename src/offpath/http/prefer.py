"""The Prefer request field (RFC 7240). Pure. What cannot be read is ignored, never an error (section 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110 §5.6.2
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_WORD = re.compile(rf"[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*({_TOKEN}|{_QUOTED})?)?[ \t]*")
_OPEN = r'"(?:[^"\\]|\\.?)*(?:"|\Z)'  # one that never ends takes the rest: looking for its end again and again costs n²
_ELEMENT = re.compile(rf"(?:[^,\"]|{_OPEN})+")
_PART = re.compile(rf"(?:[^;\"]|{_OPEN})+")
_DIGITS = re.compile(r"[0-9]+")


class Preferences(NamedTuple):
    """A request's preferences.

    prefs    name (lower case) → value, None when it has none
    params   name → its parameters, for names that have any
    neither  names given with values that contradict each other: to be treated as not given (4.2)
    """

    prefs: dict[str, str | None]
    params: dict[str, dict[str, str | None]]
    neither: frozenset[str]

    def wait(self, cap: float) -> float | None:
        """Seconds to wait, at most `cap`; None when not asked for."""
        value = self.prefs.get("wait")
        if value is None:
            return None
        return cap if len(value) > 9 else min(float(value), cap)


class Wish(NamedTuple):
    """What a request that starts work prefers, as far as we honour it.

    wait           seconds to wait for the result, at most the server's cap; None: not asked for
    respond_async  202 rather than a result
    minimal        an empty body in the 202
    full           the body there is anyway (`return=representation`)
    strict         members of the body that nobody knows are an error
    """

    wait: float | None = None
    respond_async: bool = False
    minimal: bool = False
    full: bool = False
    strict: bool = False

    @property
    def wants_operation(self) -> bool:
        """Whether the work is to be an operation, where there is a choice."""
        return self.respond_async or self.wait is not None

    def applied(self, *, result: bool = False, waited: bool = True) -> str:
        """The value of Preference-Applied: `result` when the answer is the result itself, not a 202; `waited` is False
        when there was no room to wait."""
        said = {
            "respond-async": self.respond_async,
            "wait": self.wait is not None and waited,
            "return=minimal": self.minimal and not result,
            "return=representation": self.full,
            "handling=strict": self.strict,
        }
        return ", ".join(name for name, honoured in said.items() if honoured)


def wish(lines: Iterable[str], cap: float) -> Wish | None:
    """None when there is nothing in it for us. `cap`: the longest wait, seconds."""
    asked = parse(lines)
    returning = None if "return" in asked.neither else asked.prefs.get("return")
    made = Wish(
        asked.wait(cap),
        "respond-async" in asked.prefs,
        returning == "minimal",
        returning == "representation",
        asked.prefs.get("handling") == "strict",
    )
    return None if made == Wish() else made


def parse(lines: Iterable[str]) -> Preferences:
    """All Prefer lines of a request as one list; the first occurrence of a name counts, a bad `wait` is dropped."""
    prefs: dict[str, str | None] = {}
    params: dict[str, dict[str, str | None]] = {}
    seen: dict[str, str | None] = {}
    neither: set[str] = set()
    for element in (found for line in lines for found in _ELEMENT.findall(line)):
        parts = _PART.findall(element)
        head = _word(parts[0]) if parts else None
        if head is None:
            continue
        name, value = head
        if name in seen:
            if name == "return" and seen[name] != value:
                neither.add(name)
            continue
        seen[name] = value
        if name == "wait" and (value is None or _DIGITS.fullmatch(value) is None):
            continue
        prefs[name] = value
        given = dict(word for part in parts[1:] if (word := _word(part)) is not None)
        if given:
            params[name] = given
    return Preferences(prefs, params, frozenset(neither))


def _word(text: str) -> tuple[str, str | None] | None:
    match = _WORD.fullmatch(text)
    if match is None:
        return None
    name, value = match.groups()
    if value is not None and value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return name.lower(), value or None
