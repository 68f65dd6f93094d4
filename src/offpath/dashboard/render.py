"""Templates → text. Everything that is not ours is escaped by Jinja itself; what may stand in a page unescaped is made
by `charts.py` and `graph.py` alone."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import ChainableUndefined, DictLoader, Environment
from markupsafe import Markup, escape

_KEPT = frozenset("\n\t\r\u200c\u200d")  # lines; and what joins letters of some scripts, and emoji
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@cache
def environment() -> Environment:
    folder = resources.files(__name__.rpartition(".")[0]) / "templates"
    texts = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".html")}
    made = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        finalize=_shown,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(seconds=duration, number=number, pretty=pretty, moment=moment, relative=relative, short=short,
                        verbatim=verbatim)  # fmt: skip
    for name in texts:  # now, when the application starts, and not for whoever comes first
        made.get_template(name)
    return made


def render(template: str, values: Mapping[str, Any]) -> bytes:
    return environment().get_template(template).render(values).encode("utf-8", "replace")


def href(base: str, path: str, query: Iterable[tuple[str, Any]] = ()) -> str:
    """A link relative to the page, which is right below any prefix. `base` leads to the dashboard's root."""
    said = [(name, value) for name, value in query if value not in (None, "")]
    return f"{base}{quote(path, safe='/')}{'?' if said else ''}{urlencode(said)}"


def visible(text: str) -> str:
    """Text with what nobody sees, and what turns the rest around (a name `\\u202egnp.exe` reads as exe.png), shown as
    escapes, as the command line has them."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in _HIDDEN and c not in _KEPT else c for c in text)


def verbatim(value: Any) -> Markup:
    """For the value of a form's field, which comes back as it is."""
    return escape(str(value))


def _shown(value: Any) -> Any:
    """What every expression of a template comes to. Markup is made of what has been here."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


# ── values in words ──────────────────────────────────────────────────────────────────────────────────────────────────


def duration(value: Any) -> str:
    """Seconds: `12 ms`, `3.4 s`, `5 min`, `2 h`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "–"
    if value == 0:
        return "0 s"
    if value < 1:
        return f"{value * 1000:.3g} ms"
    if value < 60:
        return f"{value:.3g} s"
    size, unit = next((size, unit) for size, unit in _UNITS if value >= size)
    whole, rest = divmod(value / size, 1)
    return f"{whole:.0f} {unit}" if rest < 0.05 or whole >= 10 else f"{value / size:.1f} {unit}"


def number(value: Any) -> str:
    """`12 345`, with thin spaces; `4.2`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "–"
    if value == int(value):
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.3g}"


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def moment(value: Any) -> str:
    """ISO 8601 → `2026-11-28 03:12:09 UTC`."""
    at = _time(value)
    return "–" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")


def relative(value: Any, now: datetime | None = None) -> str:
    """`3 min ago`, `in 2 h`."""
    at = _time(value)
    if at is None:
        return "–"
    away = (at - (now or datetime.now(UTC))).total_seconds()
    if abs(away) < 1:
        return "now"
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(away) >= size), (1, "s"))
    text = f"{abs(away) // size:.0f} {unit}"
    return f"in {text}" if away > 0 else f"{text} ago"


def short(value: Any) -> str:
    """The end of an id: its beginning is a time, and alike among neighbours."""
    text = str(value)
    return f"…{text[-8:]}" if len(text) == 36 else text


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
