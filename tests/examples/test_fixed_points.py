"""What outside checks rely on: the queues, attempts and backoffs of the reference application, and the ids it sends."""

import uuid
from typing import Any

import pytest

from examples.accounts.tasks import jobs, render_report, send_confirmation, send_email, send_push, update_user
from offpath import Offpath
from offpath.core.options import TaskOptions
from offpath.core.policy import Retention, resolve
from offpath.tasks import Task
from offpath.testing import enqueued

from .conftest import World


@pytest.mark.parametrize(("name", "priority", "attempts"), [("critical", 1, 5), ("normal", 5, 3), ("low", 10, 1)])
def test_a_queue(name: str, priority: int, attempts: int) -> None:
    queue = jobs.registry.queues[name]
    assert (queue.priority, queue.max_attempts) == (priority, attempts)
    assert resolve(TaskOptions(queue=name), queue, None, Retention()).max_attempts == attempts


def test_there_are_no_other_queues() -> None:
    assert set(jobs.registry.queues) == {"critical", "normal", "low"}
    assert {task.options.queue for task in map(jobs.registry.get, jobs.registry.names()) if task} <= {
        "critical",
        "normal",
        "low",
        "offpath.webhooks",  # the library's own
    }


POLICIES: list[tuple[Task[..., Any], str, int]] = [
    (send_email, "normal", 20),
    (send_email, "low", 20),  # the welcome e-mail
    (send_push, "normal", 20),
    (update_user, "normal", 20),
    (send_confirmation, "critical", 3),
    (render_report, "normal", 3),
]


@pytest.mark.parametrize(("task", "queue", "attempts"), POLICIES)
def test_a_policy(task: Task[..., Any], queue: str, attempts: int) -> None:
    policy = task.policy(queue, None)
    assert policy.max_attempts == attempts
    assert (policy.backoff.kind, policy.backoff.first, policy.backoff.grow) == ("exponential", 1, 2)
    assert policy.backoff.cap == 300
    assert policy.backoff.delay(19, 1.0) <= 300
    assert policy.timeout is not None


async def test_what_leaves_the_house_carries_its_jobs_id(world: World) -> None:
    name = f"bob-{uuid.uuid4().hex[:8]}"
    address = f"dora-{uuid.uuid4().hex[:8]}@example.org"
    await world.call("PATCH", "/api/user/update", {"username": name}, user="bob")
    await world.call("POST", "/api/users", {"username": "dora", "email": address})
    await world.call("PATCH", "/api/user/update", {"username": f"{name}-again"}, user="alice")
    await world.received.until(lambda r: any(letter.to == (address,) for letter in r.letters))
    await world.received.until(lambda r: any(name in letter.text for letter in r.letters))
    await world.received.until(lambda r: any(call.path == "/push" for call in r.calls))

    with_ids = Offpath(world.database)
    rows = enqueued(with_ids)
    with_ids.close()
    emails = {f"<{row.id}@accounts.example.org>": row for row in rows if row.task == send_email.name}
    pushes = {f'"{row.id}"' for row in rows if row.task == send_push.name}
    assert {letter.id for letter in world.received.letters} <= emails.keys()
    assert {call.id for call in world.received.calls if call.path == "/push"} <= pushes
    [welcome] = [emails[letter.id] for letter in world.received.letters if letter.to == (address,)]
    assert (welcome.queue, welcome.priority) == ("low", 10)
    [notice] = [emails[letter.id] for letter in world.received.letters if f"Hello {name},\r" in letter.text]
    assert (notice.queue, notice.priority) == ("normal", 5)
