"""Enqueue in `transaction.atomic`: the row and the job stand or fall together."""

import pytest

from tests.integrations.django.project import Project

READ = """
def there(*jobs_):
    found = []
    for job in jobs_:
        try:
            found.append(job.info_sync().state)
        except Exception as e:
            found.append(type(e).__name__)
    return found
"""


def test_commit_carries_both(project: Project) -> None:
    project.run(
        READ
        + """
with transaction.atomic():
    Note.objects.create(text="mine")
    job = tasks.note.using(tx=connection).enqueue_sync(text="100 % :colon %s %(x)s")
    assert there(job) == ["NotFound"], "not before the commit"
assert there(job) == ["ready"]
assert Note.objects.count() == 1
"""
    )
    project.work()
    assert project.run("say(sorted(note.text for note in Note.objects.all()))") == ["100 % :colon %s %(x)s", "mine"]


def test_rollback_takes_both_back(project: Project) -> None:
    project.run(
        READ
        + """
try:
    with transaction.atomic():
        Note.objects.create(text="mine")
        job = tasks.note.using(tx=connection).enqueue_sync(text="x")
        raise KeyError
except KeyError:
    pass
assert there(job) == ["NotFound"]
assert Note.objects.count() == 0
"""
    )


def test_a_savepoint_takes_back_only_what_came_after_it(project: Project) -> None:
    project.run(
        READ
        + """
with transaction.atomic():
    before = tasks.note.using(tx=connection).enqueue_sync(text="x")
    try:
        with transaction.atomic():
            inside = tasks.note.using(tx=connection).enqueue_sync(text="x")
            Note.objects.create(text="inside")
            raise KeyError
    except KeyError:
        pass
    with transaction.atomic():
        after = tasks.note.using(tx=connections["default"]).enqueue_sync(text="x")
assert there(before, inside, after) == ["ready", "NotFound", "ready"]
assert Note.objects.count() == 0
"""
    )


def test_a_worker_is_told_after_the_commit(project: Project) -> None:
    """A worker that polls once a minute: only a hint makes it look in time."""
    project.settings("OFFPATH['POLL'] = 60")
    project.run(
        """
        heard = []
        def announce(hints):
            heard.extend((hint.kind, hint.names) for hint in hints)
        jobs.store._announce = announce
        with transaction.atomic():
            with transaction.atomic():
                tasks.anote.using(tx=connection).enqueue_sync(text="x")
            assert heard == []
            try:
                with transaction.atomic():
                    tasks.note.using(tx=connection).enqueue_sync(text="x")
                    raise KeyError
            except KeyError:
                pass
            assert heard == []
        assert heard == [("work", ("mail",))], heard
        """
    )
    with project.worker():
        project.run(
            """
            first = tasks.note.enqueue_sync(text="a")
            assert first.result_sync(timeout=60)      # the worker is up
            with transaction.atomic():
                job = tasks.note.using(tx=connection).enqueue_sync(text="b")
            assert job.result_sync(timeout=60)
            """
        )


def test_keys_and_many_in_one_call(project: Project) -> None:
    project.run(
        """
        with transaction.atomic():
            one = tasks.note.using(tx=connection, key="k").enqueue_sync(text="x")
            two = tasks.note.using(tx=connection, key="k").enqueue_sync(text="x")
            assert (two.id, two.existing) == (one.id, True)
            many = jobs.enqueue_many_sync([tasks.note.call(text=str(n)) for n in range(300)], tx=connection)
        assert len({job.info_sync().id for job in many}) == 300
        """
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("tasks.note.using(tx=connection).enqueue_sync(text='x')", "no open transaction"),
        (
            "connection.set_autocommit(False); tasks.note.using(tx=connection).enqueue_sync(text='x')",
            "no open",
        ),
        ("tasks.note.using(tx='default').enqueue_sync(text='x')", "not builtins.str"),
        (
            """
with transaction.atomic():
    connection.close()
    tasks.note.using(tx=connection).enqueue_sync(text='x')
""",
            "has been closed",
        ),
        (
            """
with transaction.atomic():
    transaction.set_rollback(True)
    tasks.note.using(tx=connection).enqueue_sync(text='x')
""",
            "will do is roll back",
        ),
        (
            """
import threading
from django.db import connections
caught = []
with transaction.atomic():
    mine = connections["default"]
    def other():
        try:
            tasks.note.using(tx=mine).enqueue_sync(text='x')
        except ConfigurationError as e:
            caught.append(e)
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
raise caught[0]
""",
            "same thread",
        ),
        (
            """
import asyncio
with transaction.atomic():
    asyncio.run(tasks.anote.using(tx=connection).enqueue(text='x'))
""",
            "sync_to_async",
        ),
        (
            """
import asyncio
with transaction.atomic():
    asyncio.run(tasks.anote.using(tx=connections["default"]).enqueue(text='x'))
""",
            "async context",
        ),
    ],
    ids=[
        "autocommit",
        "by hand",
        "alias",
        "closed",
        "set_rollback",
        "another thread",
        "on a loop",
        "of this thread, on a loop",
    ],
)
def test_what_is_refused(sqlite_project: Project, how: str, said: str) -> None:
    error = sqlite_project.run(f"try:\n{indented(how)}\nexcept ConfigurationError as e:\n    say(str(e))\n")
    assert said in error


def indented(code: str) -> str:
    return "\n".join("    " + line for line in code.splitlines())


def test_another_database(project: Project) -> None:
    """Refused, and the transaction goes on."""
    error = project.run(
        """
        try:
            with transaction.atomic(using="other"):
                try:
                    tasks.note.using(tx=connections["other"]).enqueue_sync(text="x")
                finally:
                    connections["other"].cursor().execute("select 1")
        except ConfigurationError as e:
            say(str(e))
        """
    )
    assert "same database" in error or "the jobs live on postgresql" in error


def test_the_same_server_but_another_database(postgres_project: Project) -> None:
    postgres_project.run(
        """
        from offpath import Offpath
        with transaction.atomic():
            connection.cursor().execute("create schema elsewhere")
        there = Offpath(jobs.settings.url, schema="elsewhere")
        there.migrate()
        note = there.task(name="note")(lambda: None)
        with connection.cursor() as cursor:
            cursor.execute("delete from elsewhere.offpath_home")
            cursor.execute("insert into elsewhere.offpath_home values (gen_random_uuid())")
        with transaction.atomic():
            Note.objects.create(text="mine")
            job = note.using(tx=connection).enqueue_sync()   # the schema is named in every statement
        assert job.info_sync().state == "ready"
        """
    )


def test_a_failed_statement_and_a_lost_connection(postgres_project: Project) -> None:
    postgres_project.run(
        """
        from django.db import Error
        from offpath.errors import StoreUnavailable
        def enqueue():
            return tasks.note.using(tx=connection).enqueue_sync(text="x")
        with transaction.atomic():
            enqueue()                                     # it has been seen where the connection leads
            try:
                connection.cursor().execute("select nonsense")
            except Error:
                pass
            try:
                enqueue()
                raise AssertionError
            except ConfigurationError as e:
                assert "has failed" in str(e), e
            connection.set_rollback(True)
        try:
            with transaction.atomic():
                enqueue()
                pid = connection.connection.info.backend_pid
                other = connections.create_connection("default")
                other.cursor().execute("select pg_terminate_backend(%s)", [pid])
                other.close()
                try:
                    enqueue()
                finally:
                    connection.set_rollback(True)
        except StoreUnavailable as e:
            say(str(e))
        """
    )


def test_under_every_kind_of_cursor(postgres_project: Project) -> None:
    """Django's debug cursor logs our statements, and parameters may be bound by the server."""
    code = """
        job = None
        connection.force_debug_cursor = True
        with transaction.atomic():
            job = tasks.note.using(tx=connection, key="k%").enqueue_sync(text="%s % %%")
        assert any("offpath_job" in query["sql"] for query in connection.queries)
        say(job.id)
    """
    one = postgres_project.run(code)
    postgres_project.settings("DATABASES['default']['OPTIONS'] = {'server_side_binding': True}")
    assert postgres_project.run(code) == one, "the key is held"
    postgres_project.settings("DATABASES['default'] |= {'OPTIONS': {'pool': True}, 'CONN_MAX_AGE': 0}")
    assert postgres_project.run(code) == one


def test_the_commit_of_a_task_settles_its_job(project: Project) -> None:
    job = project.run("say(tasks.once.enqueue_sync(text='x').id)")
    project.work()
    assert project.run("say([note.text for note in Note.objects.all()])") == ["x by 1"]
    assert project.run(f"say(jobs.get_sync({job!r}).info_sync().state)") == "succeeded"


def test_what_cannot_be_committed_leaves_nothing_behind(project: Project) -> None:
    """A failure, a failed statement that was swallowed, a rollback asked for, a connection closed: no row, and the job
    has failed with words that say why."""
    ends = ["fail", "doom", "close"] if "sqlite" in project.address else ["fail", "break", "doom", "close"]
    ids = project.run(f"say({{then: tasks.once.enqueue_sync(text=then, then=then).id for then in {ends!r}}})")
    project.work()
    assert project.run("say([note.text for note in Note.objects.all()])") == []
    said = project.run(
        f"""
        found = {{}}
        for then, id in {ids!r}.items():
            info = jobs.get_sync(id).info_sync()
            found[then] = [info.state, info.error]
        say(found)
        """
    )
    assert {then: state for then, (state, _) in said.items()} == dict.fromkeys(ends, "failed")
    for then, (_, error) in said.items():
        assert ("LookupError" if then == "fail" else "roll") in str(error), (then, error)


def test_the_connection_is_given_back_however_the_transaction_ends(postgres_project: Project) -> None:
    """Django's own pool has four, and the worker's threads are more."""
    postgres_project.settings("DATABASES['default'] |= {'OPTIONS': {'pool': True}, 'CONN_MAX_AGE': 0}")
    ends = ["", "fail", "doom"] * 6
    ids = postgres_project.run(f"say([tasks.once.enqueue_sync(text='x', then=then).id for then in {ends!r}])")
    postgres_project.work()
    said = postgres_project.run(f"say([str(jobs.get_sync(id).info_sync().error) for id in {ids!r}])")
    for then, error in zip(ends, said, strict=True):
        assert {"": "None", "fail": "LookupError", "doom": "set_rollback"}[then] in error


@pytest.mark.parametrize(
    "trigger",
    [
        "trigger clash before insert on {table} for each row",
        "trigger clash before insert on offpath_history for each row",
        "constraint trigger clash after insert on {table} deferrable initially deferred for each row",
    ],
    ids=["called", "settled", "committed"],
)
def test_what_cannot_pass_beside_another_transaction_is_run_again(postgres_project: Project, trigger: str) -> None:
    postgres_project.run(
        f"""
        with connection.cursor() as cursor:
            cursor.execute("create sequence met")   # whose numbers no rollback takes back
            cursor.execute('''
                create function conflict() returns trigger language plpgsql as $$
                begin
                    if nextval('met') <= 2 then
                        raise exception 'could not pass' using errcode = '40001';
                    end if;
                    return new;
                end $$''')
            trigger = {trigger!r}.format(table=Note._meta.db_table)
            cursor.execute("create " + trigger + " execute function conflict()")
        """
    )
    job = postgres_project.run("say(tasks.once.enqueue_sync(text='x').id)")
    postgres_project.work()
    assert postgres_project.run("say([note.text for note in Note.objects.all()])") == ["x by 1"]
    info = postgres_project.run(f"info = jobs.get_sync({job!r}).info_sync(); say([info.state, info.attempt])")
    assert info == ["succeeded", 1]


def test_a_job_that_was_taken_away_takes_its_rows_with_it(postgres_project: Project) -> None:
    """(On SQLite nobody can take it away meanwhile: the task has the lock.)"""
    postgres_project.run("say(tasks.once.enqueue_sync(text='x', then='lose').id)")
    with postgres_project.worker():
        postgres_project.run(
            """
            import time
            for _ in range(5_000):
                with connection.cursor() as cursor:
                    cursor.execute("select fence, state from offpath_job")
                    if (rows := cursor.fetchall()) and rows[0][0] >= 2:
                        break
                time.sleep(0.02)   # no signal crosses processes here
            else:
                raise AssertionError(rows)
            """
        )
    assert postgres_project.run("say([note.text for note in Note.objects.all()])") == []
