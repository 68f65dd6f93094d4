"""Every command that looks, on both stores: stable JSON, tables that a terminal cannot be hurt by, one sentence when
there is nothing; and every change with its actor."""

import contextlib
import json
import os
import socket
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from offpath.app.acting import acting
from offpath.cli import screen
from offpath.cli.picture import Camera
from offpath.cli.workers import COLUMNS
from offpath.core import alerts
from offpath.core.alerts import AlertRow
from offpath.core.ids import is_id
from offpath.core.outcome import Errored, error
from offpath.ports.webhooks import EndpointRow, NewAttempt, NewDelivery
from offpath.testing.stores.kit import POLICY, Hand, ask, fresh, now, perform

from .conftest import Shop


def test_jobs_and_their_attempts(shop2: Shop) -> None:
    id = shop2.module.bad.enqueue_sync(n=1).id
    store = shop2.module.jobs.store
    hand = Hand(store, tasks=["bad@1"])
    job = hand.claim_one()
    hand.say(job, Errored(error("raised", "Boom", exception="ValueError", detail="no \x1b[31m")), POLICY)
    hand.close()
    (one,) = shop2.told("jobs", "attempts", id)
    assert (one["attempt"], one["outcome"], one["worker"], one["error"]["detail"]) == (
        1,
        "errored",
        "test",
        "no \x1b[31m",
    )
    shown = shop2.told("jobs", "show", id, app=False)
    assert [line["event"] for line in shown["timeline"]] == ["queued", "errored"]
    assert shown["redacted"]
    text = shop2.run("jobs", "show", id)
    assert "\x1b" not in text.stdout
    assert "no \\x1b[31m" in text.stdout
    assert "\x1b" not in shop2.run("jobs", "attempts", id).stdout
    missing = shop2.run("jobs", "attempts", fresh())
    assert (missing.returncode, missing.stderr.startswith("offpath: no job")) == (1, True)


def test_workers_are_told_apart_and_say_what_they_hold(shop2: Shop) -> None:
    store = shop2.module.jobs.store
    shop2.module.send.enqueue_sync(to="a")
    alive, late = Hand(store, tasks=["send@1"]), Hand(store, -1, tasks=["bad@1"])
    (job,) = alive.claim(queues=(("mail", 1),))
    rows = shop2.told("workers", "list", app=False)
    assert [(row["id"], row["state"], row["tasks"]) for row in rows] == [
        (alive.id, "alive", ["send@1"]), (late.id, "late", ["bad@1"]),
    ]  # fmt: skip
    one = shop2.told("workers", "show", alive.id)
    assert [held["id"] for held in one["jobs"]] == [job.id]
    assert job.id in shop2.run("workers", "show", alive.id).stdout
    both = shop2.run("workers", "show", "test")
    assert (both.returncode, "say more of its id" in both.stderr) == (2, True)
    assert shop2.run("workers", "show", "nobody").returncode == 1
    text = shop2.run("workers", "list").stdout.splitlines()
    assert text[0].split() == list(COLUMNS)
    alive.close()
    late.close()


def test_queues_limits_and_alerts(shop2: Shop) -> None:
    jobs = shop2.module.jobs
    assert shop2.told("queues", "show", "mail")["ready"] == 0
    jobs.store.perform(jobs.store.verbs.declare(jobs.registry.limits.rules())).result()
    for to in ("a", "a", "b"):
        shop2.module.limited.enqueue_sync(to=to)
    assert shop2.run("limits", "list").stdout.splitlines()[0].split()[0] == "name"
    (limit,) = shop2.told("limits", "list", app=False)
    assert (limit["concurrency"], limit["running"], limit["rate"]) == (2, 0, None)
    jobs.alert("mail is old", queue="mail", age=timedelta(minutes=5))
    jobs.alert("never ran", schedule_late=30)
    jobs.alert("one in ten fails", error_rate=0.1, within=60)
    perform(jobs.store, jobs.store.verbs.move_alert(AlertRow("never ran", 0, None, 0), now(), 45_000_000, None))
    perform(jobs.store, jobs.store.verbs.move_alert(AlertRow("an old one", 0, None, 0), now(), 7, None))
    assert [(row["name"], row["state"], row["value"], row["above"]) for row in shop2.told("alerts", "list")] == [
        ("an old one", "raised", 7, None), ("never ran", "raised", 45.0, 30.0),
        ("mail is old", "ok", None, 300.0), ("one in ten fails", "ok", None, 0.1),
    ]  # fmt: skip
    jobs.alert("mail is deep", depth=0, queue="mail")
    for to in ("a", "b", "c"):
        shop2.module.send.enqueue_sync(to=to)
    deep = next(row for row in shop2.told("alerts", "list") if row["name"] == "mail is deep")
    assert (deep["value"], deep["now"]) == (None, 3), "as it stands, not as it was when it rang"
    late = next(row for row in shop2.told("alerts", "list") if row["name"] == "never ran")
    assert (late["value"], late["now"]) == (45.0, 0.0)
    worker = Hand(jobs.store)
    perform(jobs.store, jobs.store.verbs.describe_worker(worker.id, '{"alerts": ["never ran"]}', "{}"))
    states = {row["name"]: row["state"] for row in shop2.told("alerts", "list")}
    assert (states["never ran"], states["an old one"]) == ("raised", "unwatched")
    worker.close()


def test_an_alert_whose_rule_is_not_known_here_says_what_it_rang_with(shop2: Shop) -> None:
    """With a database alone, or of another version's rules: there was "- -"."""
    store = shop2.module.jobs.store
    perform(store, store.verbs.move_alert(AlertRow("many", 0, None, 0), now(), 1_234, None))
    perform(store, store.verbs.move_alert(AlertRow("well", 0, None, 0), None, 3, None))
    lines = shop2.run("alerts", "list", app=False).stdout.splitlines()
    assert ["1,234 when it rang" in line for line in lines] == [False, True, False]
    (many,) = (row for row in shop2.told("alerts", "list", app=False) if row["name"] == "many")
    assert (many["value"], many["now"]) == (1_234, None)
    assert any("1,234 when it rang" in line for line in screen.lines(Camera(shop2.module.jobs).look(), 120))


def test_a_flow_is_a_tree(shop2: Shop) -> None:
    send = shop2.module.send
    whole = send.call(to="a").then(send).then(send).enqueue_sync()
    lines = shop2.run("flows", "show", whole.id, app=False).stdout.splitlines()
    assert lines[0] == f"flow {whole.id}  waiting, 0 of 3 done"
    assert [line[: line.index("send")] for line in lines[1:]] == ["└─ ", "   └─ ", "      └─ "]
    info = shop2.told("flows", "show", whole.id)
    part = info["parts"][0]["id"]
    assert shop2.told("flows", "show", part)["id"] == whole.id, "a part leads to its flow"
    alone = send.enqueue_sync(to="a")
    none = shop2.run("flows", "show", alone.id)
    assert (none.returncode, "is part of no flow" in none.stderr) == (1, True)


def endpoint(tenant: str = "acme") -> EndpointRow:
    at = now()
    return EndpointRow(
        fresh(), tenant, "ann", "https://hooks.example.com/\u202e", "", '["operation.succeeded"]', "sealed-secret",
        "sealed-headers", True, None, None, None, 4, at, at,
    )  # fmt: skip


def test_webhooks_across_tenants(shop2: Shop) -> None:
    store = shop2.module.jobs.store
    one, two = endpoint(), endpoint("globex")
    for row in (one, two):
        perform(store, store.verbs.add_endpoint(row, 10))
    assert [row["id"] for row in shop2.told("webhooks", "endpoints", app=False)] == [two.id, one.id]
    assert [row["id"] for row in shop2.told("webhooks", "endpoints", "--tenant", "acme")] == [one.id]
    for text in (shop2.run("webhooks", "endpoints").stdout, json.dumps(shop2.told("webhooks", "show", one.id))):
        assert "sealed" not in text
    assert "\u202e" not in shop2.run("webhooks", "endpoints").stdout
    disabled = shop2.told("webhooks", "disable", one.id, "--reason", "asked for it")
    assert disabled["reason"] == "disabled by an operator: asked for it"
    rule = alerts.rule("off", {"endpoints_disabled": 0})
    assert ask(shop2.module.jobs.store, shop2.module.jobs.store.verbs.reading(rule))[0] == 0, "it has not failed"
    assert [row["id"] for row in shop2.told("webhooks", "endpoints", "--disabled")] == [one.id]
    assert shop2.run("webhooks", "test", one.id).returncode == 1, "it is disabled"
    assert shop2.told("webhooks", "enable", one.id)["state"] == "enabled"
    sent = shop2.told("webhooks", "test", one.id)
    made = NewAttempt(fresh(), now(), 503, 1_200, "503", "")
    store = shop2.module.jobs.store  # the command has closed the other one
    perform(store, store.verbs.record(sent["delivery"], made, lambda row, endpoint, at: (row, endpoint)))
    (attempt,) = shop2.told("webhooks", "attempts", one.id)
    assert (attempt["status"], attempt["delivery"], attempt["event"]) == (503, sent["delivery"], "endpoint.test")
    assert shop2.told("webhooks", "resend", one.id, "--since", "1h") == {
        "endpoint": one.id, "deliveries": [], "more": False,
    }, "what is on its way is not sent twice"  # fmt: skip
    assert shop2.run("webhooks", "resend", one.id, "--delivery", fresh()).returncode == 1
    assert shop2.run("webhooks", "show", fresh()).returncode == 1
    acts = shop2.told("audit", "list", "--target", one.id)
    assert [act["action"] for act in acts] == ["endpoint.test", "endpoint.enable", "endpoint.disable"]


def test_every_change_has_its_actor(shop2: Shop) -> None:
    id = shop2.module.send.enqueue_sync(to="a").id
    shop2.run("jobs", "cancel", id, "--reason", "a mistake")
    shop2.run("queues", "pause", "mail")
    shop2.run("queues", "list")
    acts = shop2.told("audit", "list")
    assert [(act["action"], act["target"]) for act in acts] == [("queue.pause", "mail"), ("job.cancel", id)]
    assert {act["actor"] for act in acts} == {f"cli:{os.environ.get('USER') or 'root'}@{socket.gethostname()}"} or all(
        act["actor"].startswith("cli:") and act["actor"].endswith(f"@{socket.gethostname()}") for act in acts
    )
    assert [act["action"] for act in shop2.told("audit", "list", "--action", "job.cancel")] == ["job.cancel"]
    assert shop2.run("audit", "list", "--action", "dance").returncode == 2
    assert "a mistake" in shop2.run("audit", "list", app=False).stdout
    said = {flags: shop2.run("audit", "list", *flags).stderr for flags in ((), ("--actor", "nobody"))}
    assert said == {(): "", ("--actor", "nobody"): "offpath: nothing like that is recorded\n"}


def test_one_is_run_again_once_unless_more_is_said(shop2: Shop) -> None:
    id = shop2.module.bad.enqueue_sync(n=1).id
    shop2.work()
    first = shop2.told("jobs", "retry", id)["id"]
    twice = shop2.run("jobs", "retry", id, app=False)
    assert (twice.returncode, twice.stdout) == (1, "")
    assert twice.stderr == f"offpath: job {id} was run again already, as {first}; --again runs it once more\n"
    assert shop2.told("jobs", "retry", id, "--again")["id"] != first
    both = shop2.run("jobs", "retry", "--again", "--queue", "default")
    assert (both.returncode, "--again is for one job" in both.stderr) == (2, True)
    live = shop2.run("jobs", "retry", first)
    assert (live.returncode, "--again" in live.stderr) == (1, False)


def test_actors_of_two_tenants_are_told_apart(shop2: Shop) -> None:
    shop2.run("queues", "pause", "mail")
    assert "tenant" not in shop2.run("audit", "list").stdout.splitlines()[0]
    for tenant in ("acme", "globex"):
        with acting("erin", tenant=tenant):
            shop2.module.jobs.queues.resume_sync("mail")
            shop2.module.jobs.queues.pause_sync("mail")
    lines = shop2.run("audit", "list").stdout.splitlines()
    assert lines[0].split() == ["at", "tenant", "actor", "action", "target", "data"]
    assert [line.split()[1:4] for line in lines[1::2][:2]] == [
        ["globex", "erin", "queue.pause"], ["acme", "erin", "queue.pause"],
    ]  # fmt: skip


def test_whoever_looks_at_values_is_in_the_audit_log(shop2: Shop) -> None:
    id = shop2.module.send.using(owner="ann").enqueue_sync(to="a").id
    shop2.work()
    shop2.told("jobs", "show", id)
    assert shop2.told("audit", "list") == [], "shapes are for everybody"
    assert shop2.told("jobs", "show", id, "--arguments")["args"] == {"to": "a"}
    shop2.run("jobs", "show", id, "--arguments", app=False)
    shop2.run("export", "--owner", "ann", "--secrets")
    shop2.run("export", "--owner", "ann")
    acts = shop2.told("audit", "list")
    assert [(act["action"], act["target"], act["data"]) for act in acts] == [
        ("owner.export", "ann", {"tenant": "", "secrets": False}),
        ("owner.export", "ann", {"tenant": "", "secrets": True}),
        ("job.arguments", id, {}), ("job.arguments", id, {}),
    ]  # fmt: skip
    assert all(act["actor"].startswith("cli:") for act in acts)
    assert shop2.run("jobs", "show", fresh(), "--arguments").returncode == 1
    assert len(shop2.told("audit", "list")) == 4, "what is not there was not looked at"


def test_what_is_kept_of_an_owner_is_written_and_erased(shop2: Shop) -> None:
    shop2.module.send.using(owner="ann").enqueue_sync(to="a")
    other = shop2.module.send.using(owner="bob").enqueue_sync(to="b").id
    shop2.work()
    out = shop2.folder / "ann.ndjson"
    done = shop2.run("export", "--owner", "ann", "--out", str(out))
    assert (done.returncode, "of ann written" in done.stderr) == (0, True)
    kinds = [json.loads(line)["kind"] for line in out.read_text().splitlines()]
    assert "job" in kinds
    assert (out.stat().st_mode & 0o777) == 0o600
    assert shop2.run("export", "--owner", "ann", "--out", str(out)).returncode == 2, "nothing is overwritten"
    lines = shop2.run("export", "--owner", "ann", app=False).stdout.splitlines()
    assert len(lines) >= len(kinds), "and by now the log has the look itself"
    piped = shop2.run("export", "--owner", "ann", "--out", "-")
    assert (piped.returncode, len(piped.stdout.splitlines())) == (0, len(lines)), "as everywhere, - is stdout"
    assert not (shop2.folder / "-").exists()
    live = shop2.module.send.using(owner="ann", delay=3600).enqueue_sync(to="later").id
    refused = shop2.run("purge", "--owner", "ann", "--yes")
    assert (refused.returncode, "with --cancel" in refused.stderr, "True" in refused.stderr) == (1, True, False)
    shop2.run("jobs", "cancel", live)
    shop2.run("jobs", "delete", live, "--yes")
    asked = shop2.run("purge", "--owner", "ann")
    assert (asked.returncode, "say --yes" in asked.stderr) == (2, True)
    assert shop2.told("purge", "--owner", "ann", "--yes")["erased"]["job"] == 1
    assert [row["id"] for row in shop2.told("jobs", "list")] == [other]


def test_the_wrong_tenant_does_not_look_like_success(shop2: Shop) -> None:
    whole = shop2.module.send
    store = shop2.module.jobs.store
    perform(store, store.verbs.add_endpoint(endpoint(), 10))  # of ann, in acme
    whole.using(owner="bob").enqueue_sync(to="b")
    shop2.work()
    wrong = shop2.run("export", "--owner", "ann", "--out", str(shop2.folder / "ann.ndjson"))
    assert (wrong.returncode, list(shop2.folder.glob("*.ndjson*"))) == (1, [])
    for done in (wrong, shop2.run("purge", "--owner", "ann", "--yes", app=False)):
        assert (done.returncode, done.stdout) == (1, "")
        assert "nothing is kept of ann in no tenant" in done.stderr
        assert "--tenant acme" in done.stderr
    none = shop2.run("purge", "--owner", "nobody", "--tenant", "acme", "--yes")
    assert (none.returncode, none.stderr) == (1, "offpath: nothing is kept of nobody in tenant acme\n")
    bob = shop2.run("export", "--owner", "bob", "--tenant", "acme", "--json")
    assert (bob.returncode, json.loads(bob.stderr.splitlines()[0])["elsewhere"]) == (1, [""])
    assert "no --tenant" in bob.stderr
    right = shop2.run("purge", "--owner", "ann", "--tenant", "acme", "--yes")
    assert (right.returncode, right.stderr, "endpoint" in right.stdout) == (0, "", True)


def test_what_operators_did_is_not_erased_with_an_owner_of_their_name(shop2: Shop) -> None:
    id = shop2.module.send.enqueue_sync(to="b").id
    shop2.run("jobs", "cancel", id, "--reason", "no")
    [act] = shop2.told("audit", "list")
    none = shop2.run("purge", "--owner", act["actor"], "--yes")
    assert (none.returncode, none.stderr) == (1, f"offpath: nothing is kept of {act['actor']} in no tenant\n")
    assert shop2.told("audit", "list")[1:] == [act]
    with acting("ann", "acme"):
        shop2.module.jobs.queues.pause_sync("mail", reason="incident")
    gone = shop2.run("purge", "--owner", "ann", "--tenant", "acme", "--yes")
    assert (gone.returncode, "its name in 1 place" in gone.stderr) == (1, True)
    assert shop2.told("audit", "list", "--action", "queue.pause")[0]["data"] == {"reason": "incident"}


def test_json_is_safe_on_a_terminal_and_reads_back(shop2: Shop) -> None:
    shop2.module.bad.enqueue_sync(n=1)
    shop2.work()
    done = shop2.run("jobs", "list", "--json")
    assert all(c.isprintable() for c in done.stdout.rstrip("\n"))
    (row,) = json.loads(done.stdout)
    assert row["error"]["detail"] == "no \x1b[31m \u202e <script>alert(1)</script> [bold]x[/bold]"
    assert is_id(row["id"])


@pytest.mark.parametrize(
    "args",
    [("jobs", "list"), ("workers", "list"), ("alerts", "list"), ("audit", "list"), ("queues", "pause", "mail"),
     ("top", "--once"), ("tail", "--since", "1h"), ("export", "--owner", "ann"), ("purge", "--owner", "ann", "--yes")],
    ids=" ".join,
)  # fmt: skip
def test_whoever_looks_makes_no_tables(
    store_url: str, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody else's database, by a slip of the pen: it stays as it was, and "nothing" is not what is said."""
    if store_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as file:
            file.execute("create table customers (id integer)")
    else:
        monkeypatch.setenv("OFFPATH_SCHEMA", "nope")
    shop = Shop(tmp_path, store_url, None)
    done = shop.run(*args, app=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "there are no offpath tables in" in done.stderr
    assert "offpath migrate" in done.stderr
    lacking = shop.run("migrate", "--check", "--json", app=False)
    assert len(json.loads(lacking.stdout)) == len(
        json.loads(shop.run("migrate", "--print", "--json", app=False).stdout)
    )
    if store_url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as file:
            assert file.execute("select name from sqlite_master").fetchall() == [("customers",)]
    assert shop.run("migrate", app=False).returncode == 0
    assert "no offpath tables" not in shop.run("jobs", "list", app=False).stderr


@pytest.mark.parametrize(
    "args",
    [("workers", "list"), ("webhooks", "endpoints"), ("limits", "list"), ("alerts", "list"), ("audit", "list"),
     ("jobs", "list"), ("schedules", "list")],
    ids=" ".join,
)  # fmt: skip
def test_nothing_is_one_sentence_and_an_empty_array(shop2: Shop, args: tuple[str, ...]) -> None:
    done = shop2.run(*args, app=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", 1)
    assert shop2.told(*args, app=False) == []


def test_a_delivery_is_told_of(shop2: Shop) -> None:
    """`NewDelivery` to nobody's endpoint is an operation's callback; tail tells of it all the same."""
    store = shop2.module.jobs.store
    new = NewDelivery(fresh(), None, None, "operation.succeeded", 1, "{}")
    perform(store, store.verbs.send([new]))
    made = NewAttempt(fresh(), now(), None, 1_000, "no route", "")
    perform(store, store.verbs.record(new.id, made, lambda row, endpoint, at: (row, endpoint)))
    from offpath.cli.tail import Watcher

    (told,) = [one.data for one in Watcher(shop2.module.jobs, now() - 60_000_000, None, None).look()
               if one.data["event"] == "webhook"]  # fmt: skip
    assert (told["delivery"], told["error"], told["status"]) == (new.id, "no route", None)
