"""What `@jobs.batch` takes and refuses, and what its tasks are where no worker runs them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from offpath import Context, JobFailed, Offpath, Snooze, provided
from offpath.errors import ArgumentError, ConfigurationError, ResultError
from offpath.testing import run_inline


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Offpath]:
    jobs = Offpath(f"sqlite:///{tmp_path}/a.db")
    yield jobs
    jobs.close()


@dataclass
class Doc:
    id: int
    text: str = ""


class Session: ...


def no_parameter() -> None: ...
def one_doc(doc: Doc) -> None: ...
def bare(docs: list) -> None: ...  # type: ignore[type-arg]
def nothing_said(docs) -> None: ...  # type: ignore[no-untyped-def]
def two(docs: list[Doc], index: str) -> None: ...
def a_set(docs: set[int]) -> None: ...
def gives_one(docs: list[Doc]) -> int: ...  # type: ignore[empty-body]
def gives_a_dict(docs: list[Doc]) -> dict[str, int]: ...  # type: ignore[empty-body]
def settles(docs: list[int], session: Session = provided(transaction=True)) -> None: ...
def gives(docs: list[int]) -> Iterator[int]:
    yield from docs


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_parameter, "one parameter of its own.*it has none"),
        (one_doc, "annotated with the list of arguments, for instance list.str.; 'doc' is Doc"),
        (bare, "'docs' is list"),
        (nothing_said, "'docs' is not annotated"),
        (two, "it has docs, index"),
        (a_set, "'docs' is set"),
        (gives_one, "must return None, or list.R . Exception.*it is annotated int"),
        (gives_a_dict, "must return None, or list"),
        (gives, "a generator has no single result"),
        (settles, "one commit settles one job"),
    ],
)
def test_what_is_no_batch_is_refused_at_once(jobs: Offpath, function: Callable[..., Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        jobs.batch()(function)
    assert jobs.registry.names() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "size must be a whole number from 1 to 10000"),
        ({"wait": -1}, "wait .seconds. must be a number from 0"),
        ({"queue": ""}, "queue must be text"),
        ({"name": "a\nb"}, "task name must not contain"),
        ({"executor": "process"}, "gathered and answered in the worker"),
    ],
)
def test_wrong_options_are_refused_at_once(jobs: Offpath, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        jobs.batch(**options)(one_of_each)


def one_of_each(docs: list[int]) -> None: ...


def test_a_job_is_one_argument(jobs: Offpath) -> None:
    @jobs.batch()
    async def index(docs: list[Doc]) -> None: ...

    assert index.bind(Doc(1, "a")) == '{"docs":{"id":1,"text":"a"}}'
    assert index.bind(docs=Doc(1)) == index.bind(Doc(1))
    assert index.decode(index.bind(Doc(1, "a"))) == {"docs": Doc(1, "a")}
    for wrong in ([Doc(1)], "a", None):
        with pytest.raises(ArgumentError, match="docs"):
            index.bind(wrong)
    with pytest.raises(ArgumentError, match="takes 1 by position, not 2"):
        index.bind(Doc(1), Doc(2))
    assert (index.batch, index.parameter, index.executor) == ((100, 0.5), "docs", "async")


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (list[int], "7", 7),
        (list[int | Exception], "7", 7),
        (list[str | ValueError | KeyError], '"a"', "a"),
        (list[int | BaseException | None], "null", None),
        (Sequence[Doc | Exception], '{"id":1,"text":""}', Doc(1)),
        (list[int | Exception] | None, "null", None),
        (None, "null", None),
        (list[None], "null", None),
        (list[Exception], "null", None),
    ],
)
def test_a_result_is_one_entry(jobs: Offpath, annotation: Any, text: str, value: Any) -> None:
    def work(docs: Annotated[list[int], "of ids"]) -> Any: ...

    work.__annotations__["return"] = annotation
    task = jobs.batch()(work)
    assert task.encode_result(value) == text
    assert task.decode_result(text) == value


def test_it_is_the_function_when_it_is_called(jobs: Offpath) -> None:
    @jobs.batch()
    def work(ctx: Context, words: list[str]) -> list[int]:
        assert len({ctx.job, *(one.job for one in ctx.each)}) == 3
        return [len(word) for word in words]

    assert work(["a", "bc"]) == [1, 2]


async def test_run_inline_calls_it_with_one(jobs: Offpath) -> None:
    @jobs.batch()
    async def work(ctx: Context, words: list[str]) -> list[int | Exception]:
        assert [one.attempt for one in ctx.each] == [1]
        return [ValueError(word) if word == "bad" else Snooze(5) if word == "later" else len(word) for word in words]

    @jobs.batch()
    def wrong(words: list[str]) -> list[int]:
        return [1, 2]

    with run_inline(jobs):
        made = await work.enqueue_many([work.call("a"), work.call("bc")])
        assert [await job.result() for job in made] == [1, 2]
        assert (await (await work.enqueue("later")).info()).state == "scheduled"
        with pytest.raises(ValueError, match="bad"):
            await work.enqueue("bad")
        with pytest.raises(ResultError, match="was given 1 jobs and returned 2 entries"):
            wrong.enqueue_sync("a")
    with run_inline(jobs, raises=False), pytest.raises(JobFailed):
        await (await work.enqueue("bad")).result()
