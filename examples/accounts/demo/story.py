"""The demo's chapters. Each does something as a client, waits for what must follow, and says what held."""

import itertools
import json
import shlex
import time
from collections import Counter
from typing import Any

import anyio

from ..processes import FLAG, Child
from .client import OFFPATH, offpath
from .teller import WITHIN, Teller

ROWS = 60  # of the report whose worker is killed
BY_THE_CLOCK = ("daily_report", "remind", "sync_items")  # jobs that no request of ours asked for now


class Story(Teller):
    async def all(self) -> None:
        await self.a_change()
        await self.three_ways()
        await self.a_report()
        await self.a_killed_worker()
        await self.summary()

    async def a_change(self) -> None:
        say, check = self.terminal.say, self.terminal.check
        await self.client.call("PATCH", "/api/user/update", {}, quiet=True)  # the first request opens the database
        self.terminal.title("A change, and what follows from it, in one transaction")
        await self.client.call("GET", "/users/1", show=("ETag",))
        answer = await self.client.call("PATCH", "/api/user/update", {"phoneNumber": "+1 555 0199"})
        answered = time.monotonic()
        say("The answer did not wait for e-mail or push: their jobs were committed together with the row.")
        await self.arrived(emails=1, pushes=1)
        letter, call = self.received.letters[-1], self.received.calls[-1]
        say(f"The e-mail arrived {(letter.at - answered) * 1000:+.0f} ms after the answer:")
        quote = f"Message-ID: {letter.id}\nTo: {', '.join(letter.to)}\nSubject: {letter.subject}\n\n{letter.text}"
        self.terminal.quote(quote)
        say(f"and the push ({(call.at - answered) * 1000:+.0f} ms) with Idempotency-Key {call.id}:")
        self.terminal.quote("\n".join(f"{name}: {value}" for name, value in call.body.items()))
        check(answer.json()["data"]["phoneNumber"] == "+1 555 0199", "the user is changed")
        check(letter.to == ("alice@acme.example",) and "contact support" in letter.text, "she was told by e-mail")
        check(call.body["token"] == "device-of-alice", "and on her device")

        await self.client.call("PATCH", "/api/user/update", {"phoneNumber": "+1 555 0199"})
        say("The same once more changes nothing, so no job follows from it (the last chapter counts).")

    async def three_ways(self) -> None:
        check, say = self.terminal.check, self.terminal.say
        body = {"username": "alice", "email": "alice@acme.example", "phoneNumber": None}
        self.terminal.title("Wait for it, have it watched, or forget it")
        await self.client.call("PUT", "/users/1", body)
        self.emails += 1
        check(len(self.received.letters) == self.emails, "a plain PUT awaits the mail server: the e-mail is there")

        answer = await self.client.call(
            "PUT", "/users/1", body | {"username": "alice2"}, prefer="respond-async", show=("Location", "Retry-After")
        )
        watched = self.accepted(answer.headers["Location"])
        await self.client.follow(watched.url, watched.see)
        await self.arrived(emails=1, triggers=1)
        user = (await self.client.call("GET", "/users/1", quiet=True)).json()
        check(watched.status == "succeeded" and user["username"] == "alice2", "with Prefer: respond-async it was a job")

        await self.client.call("POST", "/api/users", {"username": "dora", "email": "dora@example.org"})
        await self.client.call("POST", "/api/orders", {"items": [{"product": "lamp", "quantity": 2}]})
        await self.arrived(emails=2)
        subjects = {letter.subject for letter in self.received.letters[-2:]}
        say(f"Two more e-mails arrived: {' and '.join(sorted(subjects))}.")
        check("Welcome" in subjects, "fire and forget is not lost either")

    async def a_report(self) -> None:
        check = self.terminal.check
        self.terminal.title("A report takes its time; the client watches (server-sent events)")
        watched = await self.start_report("Sales", rows=30, delay_ms=50)
        await self.watch(watched, "report")
        done = await self.client.operation(watched.url)
        check(watched.status == "succeeded", f"{watched.status}: result {json.dumps(done.get('result'))}")
        await self.file_is_whole(done["result"]["url"], rows=30)
        stranger = await self.client.call("GET", done["result"]["url"], user="bob")
        check(stranger.status_code == 404, "to anybody else there is no such file")

    async def a_killed_worker(self) -> None:
        """The long one: while the dead worker's lease runs out, three shorter chapters are told."""
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("kill -9 of the worker in the middle of its report")
        watched = await self.start_report("Taxes", rows=ROWS, delay_ms=60)
        await self.client.follow(watched.url, lambda name, data: watched.see(name, data) or watched.current > 0)
        doomed = await self.at_work_on(watched)
        idle = "".join(f", worker process {worker.pid} is not" for worker in self.workers if worker is not doomed)
        self.workers.append(await Child.start("examples.accounts.worker", FLAG))
        say(f"Worker process {doomed.pid} is at it{idle}. Another one, {self.workers[-1].pid}, is starting.")

        def half(name: str, data: dict[str, Any]) -> bool:
            ended = watched.see(name, data)
            self.terminal.bar("report", watched.share, f"row {watched.current} of {watched.total}")
            return ended or watched.share >= 0.5

        await self.client.follow(watched.url, half)
        before = await self.client.operation(watched.url)
        code = await doomed.kill()
        killed = time.monotonic()
        self.workers.remove(doomed)
        self.terminal.bar_done()
        row = watched.current
        after = await self.client.operation(watched.url)
        check(before["status"] == "running" and not watched.status, f"the job was running, at row {row}, at the kill")
        check(code == -9, f"worker process {doomed.pid} is gone (kill -9), it could not say good-bye")
        check(after["status"] == "running", "and still the job is called running: nobody knows yet")
        say("The dead worker's lease is 15 s, renewed every 5 s; when it has run out, its jobs are taken up again.")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.watch_again, watched)
            tasks.start_soon(self.wait_for_lease, watched, killed)
            await self.a_dead_letter()
            await self.a_failure()
            await self.a_cancel()
            if not watched.again:
                self.terminal.title("Back to the report of the killed worker")
        waited = watched.again - killed
        check(
            0 < waited <= WITHIN, f"its job was back in the queue {waited:.1f} s after the kill (at most {WITHIN:.0f})"
        )
        other = await self.at_work_on(watched)
        check(watched.status == "succeeded", f"and the report finished all the same, in worker process {other.pid}")
        done = await self.client.operation(watched.url)
        check(done["attempt"] == 1, "a worker's death spends no attempt: it was still attempt 1")
        await self.file_is_whole(done["result"]["url"], rows=ROWS)

    async def a_dead_letter(self) -> None:
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("Meanwhile: a job that fails, is retried, and ends as a dead letter")
        self.received.refusing_mail = True
        say("The mail server now answers 451 to everything. An order is confirmed in 3 attempts:")
        await self.client.call("POST", "/api/orders", {"items": [{"product": "desk", "quantity": 1}]})
        refused = self.received.refused
        for attempt in (1, 2, 3):
            await self.turned_away(attempt)
            gap = f", {refused[-1].at - refused[-2].at:.1f} s after the one before" if attempt > 1 else ""
            say(f"attempt {attempt} refused{gap}")
        job = refused[-1].id.strip("<>").partition("@")[0]  # an e-mail's Message-ID is made from its job
        dead = await self.settled(job)
        check(dead["state"] == "failed" and dead["attempt"] == 3, f"job {job} is {dead['state']}: nothing vanished")
        again = [later.at - earlier.at for earlier, later in itertools.pairwise(refused)]
        check(len(again) == 2 and 0.7 < again[0] < again[1], "each time it waited longer before the next attempt")

        self.received.refusing_mail = False
        say("The mail server is well again, and an operator types:")
        say(f"  {OFFPATH} --database {shlex.quote(self.database)} jobs retry {job}")
        new = await offpath(self.database, "jobs", "retry", job)
        await self.arrived(emails=1)
        letter = self.received.letters[-1]
        check(letter.subject.startswith("Your order"), f"new job {new['id']}: {letter.subject!r} has arrived")

    async def a_failure(self) -> None:
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("Meanwhile: what the client of a failing operation sees")
        watched = await self.start_report("Broken", rows=3, delay_ms=20, fail_at=2)

        def see(name: str, data: dict[str, Any]) -> bool:
            if name == "operation.retrying":
                say(f"{name}: attempt {data['attempt']} follows in {data['delay']:.1f} s")
            return watched.see(name, data)

        await self.client.follow(watched.url, see)
        answer = await self.client.call("GET", watched.url)
        error = answer.json()["error"]
        say(f"{error['title']}: {error['detail']} ({error['attempts']} attempts)")
        check(answer.status_code == 200 and watched.status == "failed", "a failed operation is read like any other")
        result = await self.client.call("GET", f"{watched.url}/result")
        check(result.status_code == 409, "only its result cannot be had")

    async def a_cancel(self) -> None:
        self.terminal.title("Meanwhile: a change of mind")
        watched = await self.start_report("Everything", rows=10_000, delay_ms=20)
        await self.client.follow(watched.url, lambda name, data: watched.see(name, data) or watched.current > 0)
        answer = await self.client.call("POST", f"{watched.url}/cancel")
        asked = time.monotonic()
        await self.client.follow(watched.url, watched.see)
        seconds = time.monotonic() - asked
        self.terminal.check(answer.status_code in (200, 202), f"asked at row {watched.current} of 10000")
        self.terminal.check(watched.status == "canceled", f"canceled {seconds * 1000:.0f} ms later")

    async def summary(self) -> None:
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("The books, checked")
        ends = [(await self.client.operation(url))["status"] for url in self.operations]
        jobs = await offpath(self.database, "jobs", "list", "--limit", "1000")
        clocked = [job for job in jobs if job["task"] in BY_THE_CLOCK]
        jobs = [job for job in jobs if job["task"] not in BY_THE_CLOCK]
        states = Counter(job["state"] for job in jobs)
        ended = sum(states[state] for state in ("succeeded", "failed", "canceled"))
        lost = sum(end not in ("succeeded", "failed", "canceled") for end in ends) + len(jobs) - ended
        pushes = sum(call.path == "/push" for call in self.received.calls)
        triggers = len(self.received.calls) - pushes
        emails = len(self.received.letters)
        width = 26
        say(f"{'jobs':{width}}{len(jobs)}: {', '.join(f'{n} {state}' for state, n in sorted(states.items()))}")
        reminders = sum(job["task"] == "remind" and job["state"] == "scheduled" for job in clocked)
        say(f"{'by the clock':{width}}{len(clocked)}: the data sync, and {reminders} reminder for tomorrow")
        say(f"{'operations (202)':{width}}{len(ends)}, each one ended")
        say(f"{'lost':{width}}{lost}")
        say(f"{'e-mails received':{width}}{emails} of {self.emails}")
        say(f"{'pushes received':{width}}{pushes} of {self.pushes}")
        say(f"{'downstream calls received':{width}}{triggers} of {self.triggers}")
        say(f"{'duplicates':{width}}{self.received.duplicates}")
        check(lost == 0, "nothing was lost")
        check((emails, pushes, triggers) == (self.emails, self.pushes, self.triggers), "every effect exactly as asked")
        check(self.received.duplicates == 0, "and none of them twice")
        tasks = Counter(job["task"] for job in jobs)
        check(tasks["send_push"] == self.pushes, "no job followed from the change that changed nothing")
        check(reminders == 1, "a day after her sign-up dora will be reminded")
        check(states["failed"] == 2, "two dead letters, kept as they ended")
