"""Exceptions become outcomes, whatever they do to whoever looks at them."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from offpath.core.outcome import Canceled, Errored, Snoozed
from offpath.core.retry import Retry
from offpath.engine import failures
from offpath.errors import ArgumentError, Cancel, Problem, ResultError, Snooze

RETRY = Retry()


def caught(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as again:
        return again


def said(exc: BaseException, retry: Retry = RETRY) -> dict[str, Any]:
    outcome = failures.outcome(caught(exc), retry)
    assert isinstance(outcome, Errored)
    data: dict[str, Any] = json.loads(outcome.error)
    return data


def test_signals_are_not_failures() -> None:
    assert failures.outcome(Snooze(timedelta(minutes=1)), RETRY) == Snoozed(60.0)
    assert failures.outcome(Cancel("customer left"), RETRY) == Canceled("customer left")


def test_an_ordinary_exception_is_kept_with_class_message_and_traceback_and_shown_to_nobody() -> None:
    error = said(ValueError("no such user"))
    assert error["kind"] == "raised"
    assert error["class"] == "ValueError"
    assert error["detail"] == "no such user"
    assert "raise exc" in error["traceback"]
    assert error["public"] is False


def test_a_problem_is_public() -> None:
    error = said(Problem(title="Card refused", status=402, detail="expired", type="https://example.com/card"))
    assert (error["title"], error["status"], error["detail"], error["type"], error["public"]) == (
        "Card refused",
        402,
        "expired",
        "https://example.com/card",
        True,
    )


def test_an_exception_shaped_like_starlettes_is_public_too() -> None:
    class HTTPException(Exception):
        def __init__(self, status_code: int, detail: Any) -> None:
            self.status_code, self.detail = status_code, detail

    error = said(HTTPException(404, "no such report"))
    assert (error["title"], error["status"], error["detail"], error["public"]) == (
        "Not Found",
        404,
        "no such report",
        True,
    )
    assert said(HTTPException(599, "odd"))["title"] == "Error"
    assert said(HTTPException(200, "no error at all"))["public"] is False


def test_retry_on_and_give_up_on_decide_what_is_retried() -> None:
    only = Retry(retry_on=(ConnectionError,))
    never = Retry(give_up_on=(PermissionError,))
    assert isinstance(outcome := failures.outcome(ConnectionResetError(), only), Errored)
    assert outcome.retryable
    assert isinstance(outcome := failures.outcome(ValueError(), only), Errored)
    assert not outcome.retryable
    assert isinstance(outcome := failures.outcome(PermissionError(), never), Errored)
    assert not outcome.retryable


def test_a_cancellation_that_nobody_asked_for_is_retried_and_exits_are_not() -> None:
    assert isinstance(outcome := failures.outcome(asyncio.CancelledError(), RETRY), Errored)
    assert outcome.retryable
    assert isinstance(outcome := failures.outcome(SystemExit(3), RETRY), Errored)
    assert not outcome.retryable


def test_results_and_arguments_that_do_not_fit_are_not_retried() -> None:
    outcome = failures.outcome(ResultError("a socket is no result"), RETRY)
    assert isinstance(outcome, Errored)
    assert not outcome.retryable
    assert json.loads(outcome.error)["kind"] == "result"
    undecodable = failures.undecodable(ArgumentError("n", "not a number"))
    assert not undecodable.retryable
    assert json.loads(undecodable.error)["argument"] == "n"


def bomb_str() -> BaseException:
    class Bomb(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

        __repr__ = __str__

    return Bomb()


def bomb_attribute() -> BaseException:
    class Bomb(Exception):
        @property
        def status_code(self) -> int:
            raise SystemExit

    return Bomb("boom")


def bomb_not_text() -> BaseException:
    class Bomb(Exception):
        def __str__(self) -> str:
            return 5  # type: ignore[return-value]

    return Bomb()


def bomb_circle() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def bomb_group() -> BaseException:
    group: Exception = ValueError("leaf")
    for _ in range(500):
        group = ExceptionGroup("deep", [group, ValueError("wide")])
    return ExceptionGroup("wide", [group, *[ValueError(str(n)) for n in range(10_000)]])


def bomb_chain() -> BaseException:
    top = ValueError("0")
    for n in range(5_000):
        upper = ValueError(str(n))
        upper.__context__ = top
        top = upper
    return top


def bomb_text() -> BaseException:
    return ValueError("\ud800 \x00 " + "x" * 10_000_000)


def bomb_recursion() -> BaseException:
    def deeper(n: int) -> int:
        return deeper(n + 1)

    try:
        deeper(0)
    except RecursionError as exc:
        return exc
    raise AssertionError


@pytest.mark.parametrize(
    "bomb",
    [
        bomb_str,
        bomb_attribute,
        bomb_not_text,
        bomb_circle,
        bomb_group,
        bomb_chain,
        bomb_text,
        bomb_recursion,
    ],
)
@pytest.mark.timeout(60)
def test_exceptions_that_attack_the_reader_are_cut_to_size(bomb: Any) -> None:
    outcome = failures.outcome(caught(bomb()), RETRY)
    assert isinstance(outcome, Errored)
    assert len(outcome.error) < 60_000
    outcome.error.encode()
    assert json.loads(outcome.error)["kind"] == "raised"


def test_a_class_that_cannot_be_asked_is_not_retried() -> None:
    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            raise RuntimeError

    class Odd(Exception, metaclass=Meta): ...

    assert failures.allows(Retry(retry_on=(Odd,)), ValueError()) is False


def test_no_local_variables_are_stored() -> None:
    def charge(card: str) -> None:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused") as caught:
        charge("-".join(["4242"] * 2))
    assert "4242-4242" not in failures.trace(caught.value)
