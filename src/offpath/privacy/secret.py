"""`Secret[T]`: a value that is shown to nobody who does not ask for it by name."""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, get_args, get_origin

from ..core.redact import MASK, SEALED, SECRET
from ..errors import ConfigurationError
from .vault import Unsealable, Vault

T = TypeVar("T", covariant=True)
V = TypeVar("V")


class Keys(Protocol):
    """What tells the vault of an application when it is needed; None: its secrets are stored as they are."""

    def __call__(self) -> Vault | None: ...


class _Plain:
    """Stored as they are."""


_storing: ContextVar[Vault | _Plain | None] = ContextVar("offpath.storing", default=None)
"""Within a store's codec: what seals. None: anywhere else, where a Secret never shows its value."""


@contextlib.contextmanager
def storing(vault: Vault | None) -> Generator[None]:
    """Inside the block, values are written for the store and read from it: sealed when there is a vault."""
    before = _storing.set(vault or _Plain())
    try:
        yield
    finally:
        _storing.reset(before)


def written(text: str) -> dict[str, Any]:
    """A secret value, as JSON text, as the store has it."""
    vault = _storing.get()
    return {SEALED: vault.seal(text)} if isinstance(vault, Vault) else {SECRET: json.loads(text)}


def is_storing() -> bool:
    return _storing.get() is not None


def read(data: Any) -> str:
    """The JSON text of a secret value, from what the store has (or from what somebody else has sent, as it is).
    Unsealable."""
    if isinstance(data, dict) and len(data) == 1:
        if SEALED in data and _storing.get() is not None:
            vault = _storing.get()
            if not isinstance(vault, Vault):
                raise Unsealable("it is sealed, and there is no secret_keys to open it with")
            return vault.open(str(data[SEALED]))
        if SECRET in data:
            data = data[SECRET]
    return json.dumps(data)


if TYPE_CHECKING:
    # To a type checker everything a T passes for passes for a `Secret[T]`, so that `enqueue(card="4242")` is right and
    # `enqueue(card=5)` is wrong; and it has `reveal`. That is a protocol whose one member says of what type the value
    # is, and a base which is none: what is inherited from that is there, and asked of nobody.
    class _Kept(Generic[T]):
        def reveal(self) -> T:
            """The value."""
            ...

        @staticmethod
        def of(value: V) -> Secret[V]:
            """A value as a Secret: `Secret(value)`, which type checkers take for the construction of a protocol."""
            ...

    class Secret(_Kept[T], Protocol[T]):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
        """A value that is shown to nobody who does not ask for it by name."""

        @property  # type: ignore[misc]
        def __class__(self) -> type[T]: ...  # type: ignore[override]  # pyright: ignore

else:

    class Secret(Generic[T]):
        """A value that is shown to nobody who does not ask for it by name: `card.reveal()`.

        A parameter `card: Secret[str]` takes a plain text or a Secret; the task gets a Secret. `str()`, `repr()`,
        formatting and JSON show `Secret(…)`. Two are equal when their values are (text and bytes: in constant time).
        It cannot be pickled. As a member of dataclasses, pydantic models, lists, dicts and TypedDicts the same holds.
        """

        __slots__ = ("_value",)

        def __init__(self, value):
            self._value = value._value if isinstance(value, Secret) else value

        @staticmethod
        def of(value):
            """A value as a Secret, for type checkers (see above); the same as `Secret(value)`."""
            return Secret(value)

        def reveal(self):
            """The value."""
            return self._value

        def __repr__(self):
            return MASK

        def __format__(self, spec):
            return format(MASK, spec)

        def __eq__(self, other):
            return _same(self._value, other._value) if isinstance(other, Secret) else NotImplemented

        def __hash__(self):
            return hash((Secret, self._value))

        def __copy__(self):
            return self

        def __deepcopy__(self, memo):
            return self

        def __reduce_ex__(self, protocol) -> NoReturn:
            raise TypeError("a Secret is not pickled: pass it as a task's argument, or reveal() it")

        @staticmethod
        def __offpath_carrier__(args):
            """Without pydantic: functions that write and read it."""
            from ..codec.plain import secret_carrier

            return secret_carrier(args[0] if args else Any)

        @classmethod
        def __get_pydantic_core_schema__(cls, source, handler):
            from ..codec.secrets import schema_of

            args = get_args(source)
            return schema_of(args[0] if args else Any)


def _same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, str) and isinstance(other, str):
        return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
    if isinstance(one, bytes) and isinstance(other, bytes):
        return hmac.compare_digest(one, other)
    return one == other


def bare(value: Any) -> Any:
    """The value of a Secret; any other as it is."""
    return value._value if type(value) is Secret else value  # type: ignore[attr-defined]


def is_secret(annotation: object) -> bool:
    """Whether it is `Secret` or `Secret[…]`."""
    return annotation is Secret or get_origin(annotation) is Secret


def values_in(value: object, depth: int = 0) -> Generator[object]:
    """Every secret value in arguments or a result, pydantic's own kinds among them; at any depth that can be stored."""
    if value is None or isinstance(value, str | bytes | int | float) or depth > 70:
        return
    if type(value) is Secret:
        yield from _leaves(value._value, depth)  # type: ignore[attr-defined]
    elif reveal := getattr(value, "get_secret_value", None):
        yield from _leaves(reveal(), depth)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from values_in(one, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from values_in(one, depth + 1)
    else:
        for one in _members(value):
            yield from values_in(one, depth + 1)


def _members(value: object) -> list[object]:
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        return [getattr(value, name, None) for name in fields]
    return list(getattr(value, "__dict__", {}).values()) if hasattr(type(value), "model_fields") else []


def _leaves(value: object, depth: int) -> Generator[object]:
    """Of a secret that is a list, a dict or an object, each text and number in it."""
    if depth > 70:
        return
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _leaves(one, depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _leaves(one, depth + 1)
    elif members := ([] if isinstance(value, str | bytes | int | float) else _members(value)):
        for one in members:
            yield from _leaves(one, depth + 1)
    elif type(value) is Secret:
        yield from _leaves(value._value, depth + 1)  # type: ignore[attr-defined]
    else:
        yield value


def opened(text: str, vault: Vault | None) -> Any:
    """Stored JSON as data, its secrets among it. ConfigurationError when one of them cannot be opened."""

    def open_(value: Any) -> Any:
        if isinstance(value, dict):
            if len(value) == 1 and SECRET in value:
                return value[SECRET]
            if len(value) == 1 and SEALED in value:
                if vault is None:
                    raise ConfigurationError("a stored secret is sealed, and there is no secret_keys to open it with")
                try:
                    return json.loads(vault.open(str(value[SEALED])))
                except Unsealable as error:
                    raise ConfigurationError(f"a stored secret cannot be read: {error}") from None
            return {name: open_(one) for name, one in value.items()}
        return [open_(one) for one in value] if isinstance(value, list) else value

    return open_(json.loads(text))
