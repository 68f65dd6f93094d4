"""The Tasks API: Django's `@task` functions as ordinary jobs."""

import pytest

from tests.integrations.django.project import Project

HEARD = """
from django.dispatch import receiver
from django_tasks.signals import task_enqueued, task_finished, task_started


def listen(signal, name):
    def heard(sender, task_result, **more):
        Note.objects.create(text=f"{name} {task_result.status} {task_result.attempts} {sender.__name__}")
    signal.connect(heard, weak=False)


listen(task_started, "started")
listen(task_finished, "finished")
"""


def test_a_plain_function(project: Project) -> None:
    id = project.run(
        """
        result = tasks.write.enqueue("x", times=2)
        assert result.status == "READY" and not result.is_finished and result.attempts == 0
        assert (result.args, result.kwargs, result.backend) == (["x"], {"times": 2}, "default")
        (found,) = [jobs.get_sync(result.id).info_sync()]
        assert (found.task, found.state, found.queue, found.priority) == ("shop.tasks.write", "ready", "default", 5)
        say(result.id)
        """
    )
    project.work()
    project.run(
        f"""
        from datetime import datetime, timezone
        result = tasks.write.get_result({id!r})
        assert result.status == "SUCCESSFUL" and result.is_finished, result
        assert result.return_value == {{"written": 2}} and result.errors == []
        assert (result.args, result.kwargs, result.attempts) == (["x"], {{"times": 2}}, 1)
        assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
        assert result.finished_at <= datetime.now(timezone.utc)
        assert Note.objects.filter(text="x").count() == 2
        """
    )


def test_async_context_queue_and_priority(project: Project) -> None:
    id = project.run(
        """
        import asyncio
        result = asyncio.run(tasks.awrite.aenqueue("x"))
        info = jobs.get_sync(result.id).info_sync()
        assert (info.queue, info.priority) == ("mail", -5)
        low = tasks.awrite.using(priority=-100, queue_name="default").enqueue("later")
        assert jobs.get_sync(low.id).info_sync().priority == 105
        task = low.task.get_result(low.id).task
        assert (task.priority, task.queue_name) == (-100, "default")
        say(result.id)
        """
    )
    project.work()
    project.run(
        f"""
        import asyncio
        result = asyncio.run(tasks.awrite.aget_result({id!r}))
        assert result.return_value == ["x", 1]
        assert Note.objects.get(text__startswith="x").text == "x 1 {id}"
        """
    )


def test_it_stands_or_falls_with_the_transaction(project: Project) -> None:
    project.run(
        """
        from django_tasks import task_backends
        from django_tasks.exceptions import TaskResultDoesNotExist
        from django_tasks.signals import task_enqueued
        heard = []
        def hear(sender, task_result, **more):
            heard.append(task_result.id)
        task_enqueued.connect(hear)
        kept = []
        with transaction.atomic():
            Note.objects.create(text="mine")
            kept.append(tasks.write.enqueue("x").id)
            assert tasks.write.get_result(kept[0]).status == "READY", "seen in the transaction itself"
            try:
                with transaction.atomic():
                    inside = tasks.write.enqueue("x").id
                    raise KeyError
            except KeyError:
                pass
            assert heard == []
        assert heard == kept
        try:
            with transaction.atomic():
                undone = tasks.write.enqueue("x").id
                raise KeyError
        except KeyError:
            pass
        kept.append(tasks.write.enqueue("x").id)
        assert heard == kept
        for id in (inside, undone, "nonsense", jobs.get_sync(tasks.note.enqueue_sync(text="x").id).id):
            try:
                task_backends["default"].get_result(id)
                raise AssertionError(id)
            except TaskResultDoesNotExist:
                pass
        """
    )


def test_failures_and_signals(project: Project) -> None:
    """Two attempts, by the OPTIONS; the errors of each are kept."""
    path = project.folder / "shop" / "tasks.py"
    path.write_text(path.read_text() + HEARD)
    once, twice = project.run("say([tasks.fail.enqueue(1).id, tasks.fail.enqueue(2).id])")
    project.work()
    project.run(
        f"""
        once, twice = tasks.fail.get_result({once!r}), tasks.fail.get_result({twice!r})
        assert (once.status, once.return_value, once.attempts) == ("SUCCESSFUL", 2, 2)
        assert [e.exception_class for e in once.errors] == [LookupError]
        assert once.started_at < once.last_attempted_at
        assert (twice.status, twice.attempts) == ("FAILED", 2)
        assert ["attempt 1" in twice.errors[0].traceback, "attempt 2" in twice.errors[1].traceback] == [True, True]
        try:
            twice.return_value
            raise AssertionError
        except ValueError:
            pass
        """
    )
    heard = project.run("say(sorted(note.text for note in Note.objects.all()))")
    assert heard == [
        "finished FAILED 2 OffpathBackend",
        "finished SUCCESSFUL 2 OffpathBackend",
        *["started RUNNING 1 OffpathBackend"] * 2,
        *["started RUNNING 2 OffpathBackend"] * 2,
    ]


def test_a_result_that_is_no_json_fails_once(project: Project) -> None:
    id = project.run("say(tasks.unstorable.enqueue().id)")
    project.work()
    project.run(
        f"""
        result = tasks.unstorable.get_result({id!r})
        assert (result.status, result.attempts) == ("FAILED", 1)
        assert "must be JSON" in result.errors[0].traceback, result.errors
        assert result.errors[0].exception_class.__name__ == "JobFailed"
        assert Note.objects.count() == 1
        """
    )


def test_run_after_cancel_and_what_cannot_be_enqueued(project: Project) -> None:
    project.run(
        """
        from datetime import datetime, timedelta, timezone
        later = datetime.now(timezone.utc) + timedelta(hours=1)
        result = tasks.write.using(run_after=later).enqueue("x")
        found = tasks.write.get_result(result.id)
        assert found.status == "READY" and found.task.run_after == later, found
        assert jobs.get_sync(result.id).info_sync().state == "scheduled"
        jobs.cancel_sync(result.id, "not wanted")
        result.refresh()
        assert result.status == "FAILED" and "not wanted" in result.errors[0].traceback
        assert (result.attempts, result.started_at) == (0, None)
        try:
            tasks.write.enqueue(object())
            raise AssertionError
        except TypeError:
            pass
        from django_tasks.exceptions import InvalidTaskError
        for wrong in ({"queue_name": "nowhere"}, {"priority": 101}, {"run_after": datetime(2040, 1, 1)}):
            try:
                tasks.write.using(**wrong)
                raise AssertionError(wrong)
            except InvalidTaskError:
                pass
        """
    )


def test_without_time_zones(sqlite_project: Project) -> None:
    sqlite_project.settings("USE_TZ = False\nTIME_ZONE = 'Asia/Tokyo'")
    sqlite_project.run(
        """
        from datetime import datetime, timedelta
        later = datetime.now() + timedelta(hours=1)
        result = tasks.write.using(run_after=later).enqueue("x")
        found = tasks.write.get_result(result.id)
        assert found.task.run_after == later
        assert abs(found.enqueued_at - datetime.now()) < timedelta(minutes=1), found
        """
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("TASKS['default']['OPTIONS'] = {'retries': 3}", "no option 'retries'"),
        ("TASKS['default']['OPTIONS'] = {'timeout': -1}", "timeout"),
        (
            "TASKS['default']['OPTIONS'] = {'retry': Retry(retry_on=[OSError])}",
            "belong to the task",
        ),
        ("INSTALLED_APPS.remove('offpath.integrations.django')", "offpath.E003"),
    ],
)
def test_check_says_what_is_wrong(sqlite_project: Project, change: str, said: str) -> None:
    sqlite_project.settings(change)
    assert said in sqlite_project.manage("check", code=1)


def test_another_alias_is_another_backend(sqlite_project: Project) -> None:
    sqlite_project.settings(
        """
        TASKS["slow"] = {"BACKEND": "offpath.integrations.django.OffpathBackend", "QUEUES": ["slow"]}
        """
    )
    sqlite_project.run(
        """
        from django_tasks import task_backends
        from django_tasks.exceptions import TaskResultDoesNotExist
        slow = tasks.write.using(backend="slow", queue_name="slow")
        result = slow.enqueue("x")
        assert (slow.get_result(result.id).backend, slow.get_result(result.id).task.queue_name) == ("slow", "slow")
        try:
            tasks.write.get_result(result.id)
            raise AssertionError
        except TaskResultDoesNotExist:
            pass
        """
    )


def test_under_run_inline_they_say_so(sqlite_project: Project) -> None:
    error = sqlite_project.run(
        """
        from offpath.testing import run_inline
        with run_inline(jobs):
            try:
                tasks.write.enqueue("x")
            except ConfigurationError as e:
                say(str(e))
        """
    )
    assert "ImmediateBackend" in error


def test_the_package_that_is_missing_is_named(sqlite_project: Project) -> None:
    """Before Django 6 the Tasks API is a package of its own."""
    error = sqlite_project.run(
        """
        import sys
        sys.modules["django_tasks"] = None
        try:
            from offpath.integrations.django import OffpathBackend
        except ImportError as e:
            say(str(e))
        """,
        setup=False,
    )
    assert 'pip install "offpath[django-tasks]"' in error
