"""The routes of the reference application, over real HTTP, with its worker in a process of its own."""

import asyncio
import uuid
from typing import Any

import pytest

from .conftest import World


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["type"]
    assert body["title"]
    return body


# -- who is asking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/users/1", "/operations", "/api/reports/x/status", "/api/jobs/x/progress"])
async def test_without_a_token_401(world: World, path: str) -> None:
    answer = await world.call("GET", path, user=None)
    problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    problem(await world.call("GET", path, user="mallory"), 401)


async def test_users_see_themselves_and_an_administrator_everybody(world: World) -> None:
    mine = await world.call("GET", "/users/2", user="bob")
    assert mine.status_code == 200
    assert mine.json()["id"] == 2
    assert set(mine.json()) == {"id", "username", "email", "phoneNumber", "version"}
    assert mine.headers["etag"] == f'"{mine.json()["version"]}"'
    assert mine.headers["cache-control"] == "private, no-cache"
    for known in (mine.headers["etag"], f'"0", W/{mine.headers["etag"]}', "*"):
        same = await world.call("GET", "/users/2", user="bob", If_None_Match=known)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == mine.headers["etag"]
        assert same.headers["cache-control"] == "private, no-cache"
    assert (await world.call("GET", "/users/2", user="bob", If_None_Match='"0"')).status_code == 200
    problem(await world.call("GET", "/users/2", user="carol", If_None_Match="*"), 404)
    assert (await world.call("GET", "/users/2", user="admin")).status_code == 200
    for stranger in ("alice", "carol"):
        problem(await world.call("GET", "/users/2", user=stranger), 404)
    for nobody in (999, 2**31, 2**63 - 1):
        problem(await world.call("GET", f"/users/{nobody}", user="admin"), 404)
        problem(await world.call("PATCH", "/api/user/update", {"userId": nobody, "username": "x"}, user="admin"), 404)


# -- for whoever runs it ----------------------------------------------------------------------------------------------


async def test_it_shows_its_metrics_and_how_it_is(world: World) -> None:
    page = await world.call("GET", "/metrics", user=None)
    assert (page.status_code, "offpath_store_up 1.0" in page.text) == (200, True)
    passed_on = await world.call("GET", "/metrics", user=None, X_Forwarded_For="203.0.113.9")
    assert passed_on.status_code == 403
    for name in ("livez", "readyz"):
        assert (await world.call("GET", f"/health/{name}", user=None)).status_code == 200


# -- bad requests ----------------------------------------------------------------------------------------------------


async def test_every_error_is_a_problem(world: World) -> None:
    problem(await world.call("GET", "/nowhere"), 404)
    problem(await world.call("DELETE", "/users/1"), 405)
    invalid = problem(await world.call("PUT", "/users/1", {"username": "", "email": "x"}), 422)
    assert {error["pointer"] for error in invalid["errors"]} == {"#/username", "#/email", "#/phoneNumber"}
    problem(await world.call("GET", "/users/99999999999999999999"), 422)
    for path in ("/operations/%00", "/api/reports/%00/file", "/api/jobs/%00/progress"):
        problem(await world.call("GET", path), 404)
    answer = await world.http.post(
        "/api/reports", content=b"{", headers={"Authorization": "Bearer dev-alice", "Content-Type": "application/json"}
    )
    problem(answer, 400)


async def test_a_body_over_1_mib_is_refused(world: World) -> None:
    """By its announced length: not a byte of it has been sent when the answer comes."""
    port = world.base_url.rpartition(":")[2]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(b"POST /api/reports HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n")
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    "body",
    [
        {"title": "x", "rows": 0},
        {"title": "x", "rows": 10_001},
        {"title": "x", "rows": 1, "delay_ms": 1_001},
        {"title": "", "rows": 1},
        {"title": "x\x00", "rows": 1},
        {"title": "x", "rows": 1, "fail_at": 0},
        {"title": "x", "rows": True},
        {"title": "x", "rows": "2"},
        {"title": "x", "rows": 2.0},
        {"title": "x", "rows": 1, "delay_ms": "5"},
        {"title": "x", "rows": 1, "fail_at": True},
        {"title": "x", "rows": 1, "delayMs": 5},
        {"rows": 1},
        [],
    ],
)
async def test_a_bad_report_is_refused_at_once(world: World, body: Any) -> None:
    problem(await world.call("POST", "/api/reports", body), 422)


@pytest.mark.parametrize("member", ["userID", "email", "phonenumber", "id"])
async def test_a_misspelled_member_is_refused(world: World, member: str) -> None:
    """Ignored, `userID` would change the caller instead."""
    said = problem(await world.call("PATCH", "/api/user/update", {member: "3", "username": "x"}, user="admin"), 422)
    assert [error["pointer"] for error in said["errors"]] == [f"#/{member}"]


NO_ADDRESSES = [
    "a,b@c.org", "<x@c.org", '"x@c.org', "x;y@[c", "x@c.org>", "a b@c.org", "x@c.org ", "x(y)@c.org", "x:y@c.org",
    "x\\y@c.org", "x@[127.0.0.1]", "x@y@c.org", "x@", "@c.org", "x..y@c.org", ".x@c.org", "x@c.org.", "x@c.org\n",
    "zoë@c.org",
]  # fmt: skip


async def test_an_address_is_one_mailbox(world: World) -> None:
    for address in NO_ADDRESSES:
        body = {"username": "x", "email": address}
        said = problem(await world.call("POST", "/api/users", body), 422)
        assert [error["pointer"] for error in said["errors"]] == ["#/email"], address
        problem(await world.call("PUT", "/users/2", {**body, "phoneNumber": None}, user="bob"), 422)


@pytest.mark.parametrize(
    "name", [" ", "   ", "a\u2028b", "a\u202eb", "a\nb", "a\x7f", "\u00a0", "a\u200bb", "\ufeffa", ""]
)
async def test_a_name_is_one_line_that_can_be_seen(world: World, name: str) -> None:
    problem(await world.call("PATCH", "/api/user/update", {"username": name}), 422)
    problem(await world.call("POST", "/api/users", {"username": name, "email": "x@c.org"}), 422)


# -- PATCH /api/user/update --------------------------------------------------------------------------------------------


async def test_a_change_is_followed_by_one_email_and_one_push(world: World) -> None:
    name = f"alice-{uuid.uuid4().hex[:8]}"
    before = (await world.call("GET", "/users/1")).json()
    answer = await world.call("PATCH", "/api/user/update", {"username": name})
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "User updated successfully",
        "data": before | {"username": name, "version": before["version"] + 1},
    }
    assert (await world.call("GET", "/users/1")).json() == answer.json()["data"]
    await world.received.until(lambda r: any(name in letter.text for letter in r.letters))
    await world.received.until(lambda r: any(call.body.get("token") == "device-of-alice" for call in r.calls))

    [letter] = [letter for letter in world.received.letters if name in letter.text]
    assert letter.to == ("alice@acme.example",)
    assert "contact support" in letter.text
    assert letter.id.endswith("@accounts.example.org>")
    push = world.received.calls[-1]
    assert push.path == "/push"
    assert "contact support" in push.body["body"]

    unchanged = await world.call("PATCH", "/api/user/update", {"username": name})
    assert unchanged.json()["data"]["version"] == before["version"] + 1
    effects = len(world.received.letters), len(world.received.calls)
    # A later change's e-mail arrives after anything that the unchanged one could have caused.
    later = f"alice-{uuid.uuid4().hex[:8]}"
    await world.call("PATCH", "/api/user/update", {"username": later})
    await world.received.until(lambda r: any(later in letter.text for letter in r.letters))
    await world.received.until(lambda r: len(r.calls) > effects[1])
    assert (len(world.received.letters), len(world.received.calls)) == (effects[0] + 1, effects[1] + 1)


@pytest.mark.parametrize("user_id", [3, "3"])
async def test_the_user_can_be_named(world: World, user_id: int | str) -> None:
    for user in ("carol", "admin"):
        body = {"userId": user_id, "phoneNumber": f"+1 555 {len(user)}"}
        answer = await world.call("PATCH", "/api/user/update", body, user=user)
        assert answer.json()["data"]["id"] == 3
        assert answer.json()["data"]["phoneNumber"] == body["phoneNumber"]


@pytest.mark.parametrize("user_id", [1, "1", 999, "999", "nobody", -1, 0])
async def test_someone_else_or_nobody_is_404(world: World, user_id: int | str) -> None:
    problem(await world.call("PATCH", "/api/user/update", {"userId": user_id, "username": "x"}, user="carol"), 404)


async def test_idk_14_users_and_orders_are_made_once_for_each_key(world: World) -> None:
    name = f"u{uuid.uuid4().hex[:8]}"
    user = {"username": name, "email": f"{name}@example.org"}
    order = {"items": [{"product": name, "quantity": 2}]}
    for path, body in (("/api/users", user), ("/api/orders", order)):
        key = f'"{uuid.uuid4()}"'
        first = await world.call("POST", path, body, Idempotency_Key=key)
        again = await world.call("POST", path, body, Idempotency_Key=key)
        assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
        assert again.headers["idempotency-replayed"] == "?1"
        other = await world.call("POST", path, body, Idempotency_Key=f'"{uuid.uuid4()}"')
        assert other.json()["id"] == first.json()["id"] + 1, "nothing was made in between"


async def test_a_stale_patch_leaves_its_key_free(world: World) -> None:
    key = f'"{uuid.uuid4()}"'
    body = {"username": f"alice-{uuid.uuid4().hex[:8]}"}
    problem(await world.call("PATCH", "/api/user/update", body, Idempotency_Key=key, If_Match='"0"'), 412)
    right = await world.call("PATCH", "/api/user/update", body, Idempotency_Key=key)
    assert (right.status_code, "idempotency-replayed" in right.headers) == (200, False)


async def test_idk_04_the_same_patch_again_changes_and_tells_nothing(world: World) -> None:
    name, key = f"alice-{uuid.uuid4().hex[:8]}", f'"{uuid.uuid4()}"'
    first = await world.call("PATCH", "/api/user/update", {"username": name}, Idempotency_Key=key)
    assert first.status_code == 200
    await world.call("PATCH", "/api/user/update", {"username": "between"})
    again = await world.call("PATCH", "/api/user/update", {"username": name}, Idempotency_Key=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "?1"
    assert (await world.call("GET", "/users/1")).json()["username"] == "between"
    problem(await world.call("PATCH", "/api/user/update", {"username": "x"}, Idempotency_Key=key), 422)
    bob = await world.call("PATCH", "/api/user/update", {"phoneNumber": "+1 5"}, user="bob", Idempotency_Key=key)
    assert (bob.status_code, "idempotency-replayed" in bob.headers) == (200, False)


# -- PUT /users/{id} ---------------------------------------------------------------------------------------------------


async def test_put_awaits_the_email(world: World) -> None:
    name = f"bob-{uuid.uuid4().hex[:8]}"
    body = {"username": name, "email": "bob@acme.example", "phoneNumber": "+1 555 0102"}
    answer = await world.call("PUT", "/users/2", body, user="bob")
    assert answer.status_code == 200
    assert any(name in letter.text for letter in world.received.letters)
    assert answer.json() | body == answer.json()
    assert (await world.call("GET", "/users/2", user="bob")).json() == answer.json()
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
    assert answer.headers["vary"] == "Prefer"
    for refused, status in ((body, 404), ({}, 422)):
        error = await world.call("PUT", "/users/2", refused)
        problem(error, status)
        assert error.headers["vary"] == "Prefer"


async def test_put_with_prefer_is_an_operation(world: World) -> None:
    name = f"bob-{uuid.uuid4().hex[:8]}"
    body = {"username": name, "email": "bob@acme.example", "phoneNumber": None}
    problem(await world.call("PUT", "/users/2", body, Prefer="respond-async"), 404)
    answer = await world.call("PUT", "/users/2", body, user="bob", Prefer="respond-async")
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["vary"] == "Prefer"
    location = answer.headers["location"]
    events = await world.follow(location, user="bob")
    done = events[-1][1]
    assert done["status"] == "succeeded"
    assert done["result"]["username"] == name
    assert (await world.call("GET", "/users/2", user="bob")).json() == done["result"]
    [letter] = [letter for letter in world.received.letters if name in letter.text]
    assert done["id"] in letter.id
    [trigger] = [call for call in world.received.calls if call.path == "/downstream"]
    assert done["id"] in trigger.id
    assert trigger.body["user"] == done["result"]
    problem(await world.call("GET", location), 404)


@pytest.mark.parametrize(
    ("prefer", "applied"), [("wait=20", "wait"), ("respond-async, wait=20", "respond-async, wait")]
)
async def test_prf_03_put_may_wait_for_its_operation(world: World, prefer: str, applied: str) -> None:
    name = f"bob-{uuid.uuid4().hex[:8]}"
    body = {"username": name, "email": "bob@acme.example", "phoneNumber": None}
    answer = await world.call("PUT", "/users/2", body, user="bob", Prefer=f"{applied}=20")
    assert (answer.status_code, answer.json()["username"]) == (200, name)
    assert answer.headers["preference-applied"] == applied
    assert answer.headers["vary"] == "Prefer"
    [letter] = [letter for letter in world.received.letters if name in letter.text]
    operations = (await world.call("GET", "/operations", user="bob")).json()["items"]
    assert operations[0]["id"] in letter.id, "the same execution"


async def test_prf_03_idk_04_a_report_may_be_waited_for_and_asked_for_again(world: World) -> None:
    body = {"title": "q3", "rows": 2, "delay_ms": 0, "fail_at": None}
    key = f'"{uuid.uuid4()}"'
    first = await world.call("POST", "/api/reports", body, Idempotency_Key=key)
    assert first.status_code == 202
    waited = await world.call("POST", "/api/reports", body, Idempotency_Key=key, Prefer="wait=20")
    assert (waited.status_code, waited.json()["rows"]) == (200, 2)
    assert first.json()["id"] in waited.json()["url"]
    again = await world.call("POST", "/api/reports", body, Idempotency_Key=key)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "?1")
    problem(await world.call("POST", "/api/reports", body | {"rows": 3}, Idempotency_Key=key), 422)


async def test_a_second_attempt_does_not_notify_twice(world: World) -> None:
    name = f"bob-{uuid.uuid4().hex[:8]}"
    body = {"username": name, "email": "bob@acme.example", "phoneNumber": None}
    before = (await world.call("GET", "/users/2", user="bob")).json()["version"]
    refused = len(world.received.refused)
    world.received.refusing_calls = True
    try:
        answer = await world.call("PUT", "/users/2", body, user="bob", Prefer="respond-async")
        location = answer.headers["location"]
        await world.received.until(lambda r: len(r.refused) > refused)
    finally:
        world.received.refusing_calls = False
    done = (await world.follow(location, user="bob"))[-1][1]
    assert done["status"] == "succeeded"
    graph = (await world.call("GET", f"{location}/graph", user="bob")).json()
    kinds = {part["kind"]: part["status"] for part in graph["parts"]}
    assert kinds == {
        "update_user": "succeeded",
        "notify_user": "succeeded",
        "refresh_cache": "succeeded",
        "trigger_downstream": "succeeded",
        "update_failed": "canceled",  # there was no failure to be told of
    }
    problem(await world.call("GET", f"{location}/graph"), 404)
    assert done["result"]["version"] == before + 1
    assert len([letter for letter in world.received.letters if name in letter.text]) == 1
    assert len([call for call in world.received.calls if done["id"] in call.id]) == 1


# -- users and orders --------------------------------------------------------------------------------------------------


async def test_a_new_user_is_welcomed(world: World) -> None:
    address = f"dora-{uuid.uuid4().hex[:8]}@example.org"
    answer = await world.call("POST", "/api/users", {"username": "dora", "email": address})
    assert answer.status_code == 201
    assert answer.json()["phoneNumber"] is None
    assert answer.json()["version"] == 1
    assert "location" not in answer.headers  # alice could not read it
    by_admin = await world.call("POST", "/api/users", {"username": "eve", "email": "eve@example.org"}, user="admin")
    assert (await world.call("GET", by_admin.headers["location"], user="admin")).json() == by_admin.json()
    await world.received.until(lambda r: any(letter.to == (address,) for letter in r.letters))


async def test_an_order_is_confirmed_with_what_is_in_it(world: World) -> None:
    items = [{"product": "lamp", "quantity": 2}, {"product": "a thing nobody has ordered yet", "quantity": 1}]
    answer = await world.call("POST", "/api/orders", {"items": items})
    assert answer.status_code == 201
    assert answer.json()["items"] == items
    assert set(answer.json()) == {"id", "userId", "items"}
    subject = f"Your order {answer.json()['id']}"
    await world.received.until(lambda r: any(letter.subject == subject for letter in r.letters))
    [letter] = [letter for letter in world.received.letters if letter.subject == subject]
    assert "2 x lamp" in letter.text
    assert "1 x a thing nobody has ordered yet" in letter.text
    job = letter.id.removeprefix("<").removesuffix("@accounts.example.org>")
    await world.server.line(f"order confirmation {job}: sent at attempt 1")


# -- reports -----------------------------------------------------------------------------------------------------------


async def test_a_report_from_202_to_its_file(world: World) -> None:
    answer = await world.call("POST", "/api/reports", {"title": "Sales", "rows": 5, "delay_ms": 10})
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["jobId"] == accepted["id"]
    assert answer.headers["location"] == f"{world.base_url}/operations/{accepted['id']}"
    assert int(answer.headers["retry-after"]) >= 1

    events = await world.follow(answer.headers["location"])
    assert events[-1][0] == "operation.succeeded"
    result = events[-1][1]["result"]
    assert result["title"] == "Sales"
    assert result["rows"] == 5
    file = await world.call("GET", result["url"])
    assert file.status_code == 200
    assert file.headers["content-type"].startswith("text/csv")
    assert file.text.splitlines() == ["row,value", *(f"{row},Sales {row}" for row in range(1, 6))]
    problem(await world.call("GET", result["url"], user="bob"), 404)
    problem(await world.call("GET", result["url"], user=None), 401)

    status = (await world.call("GET", accepted["statusUrl"])).json()
    assert status["status"] == "succeeded"
    assert status["result"] == result
    progress = (await world.call("GET", f"/api/jobs/{accepted['id']}/progress")).json()
    assert progress["status"] == "succeeded"
    for path in (accepted["statusUrl"], f"/api/jobs/{accepted['id']}/progress"):
        problem(await world.call("GET", path, user="bob"), 404)
    for path in ("/api/reports/nothing/status", "/api/jobs/nothing/progress", "/api/reports/nothing/file"):
        problem(await world.call("GET", path), 404)


async def test_a_report_in_progress_has_no_file_yet_and_can_be_canceled(world: World) -> None:
    answer = await world.call("POST", "/api/reports", {"title": "Long", "rows": 10_000, "delay_ms": 50})
    location, id = answer.headers["location"], answer.json()["id"]
    await world.follow(location, until="operation.progress")
    progress = (await world.call("GET", f"/api/jobs/{id}/progress")).json()
    assert progress["progress"]["unit"] == "rows"
    assert progress["progress"]["total"] == 10_000
    problem(await world.call("GET", f"/api/reports/{id}/file"), 404)
    assert (await world.call("POST", f"{location}/cancel")).status_code in (200, 202)
    assert (await world.follow(location))[-1][0] == "operation.canceled"


async def test_a_report_that_fails_is_retried_and_says_why(world: World) -> None:
    answer = await world.call("POST", "/api/reports", {"title": "Broken", "rows": 3, "fail_at": 2})
    events = await world.follow(answer.headers["location"])
    names = [name for name, _ in events]
    assert names.count("operation.started") + ("operation.snapshot" in names) >= 3
    assert names[-1] == "operation.failed"
    error = events[-1][1]["error"]
    assert error["title"] == "The report could not be rendered"
    assert error["attempts"] == 3


async def test_the_list_of_operations_is_the_callers_own(world: World) -> None:
    answer = await world.call("POST", "/api/reports", {"title": "Mine", "rows": 1}, user="carol")
    mine = (await world.call("GET", "/operations", user="carol")).json()["items"]
    assert answer.json()["id"] in {operation["id"] for operation in mine}
    others = (await world.call("GET", "/operations", user="bob")).json()["items"]
    assert answer.json()["id"] not in {operation["id"] for operation in others}


# -- the document and its page -----------------------------------------------------------------------------------------


async def test_docs_work_without_a_network(world: World) -> None:
    page = await world.call("GET", "/docs", user=None)
    assert page.status_code == 200
    assert "http://" not in page.text.replace(world.base_url, "")
    assert "https://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f"/docs/files/{name}" in page.text
        assert (await world.call("GET", f"/docs/files/{name}", user=None)).status_code == 200
    problem(await world.call("GET", "/docs/files/other", user=None), 404)


async def test_the_openapi_document(world: World) -> None:
    from openapi_spec_validator import validate

    document = (await world.call("GET", "/openapi.json", user=None)).json()
    validate(document)
    report = document["paths"]["/api/reports"]["post"]
    assert report["security"] == [{"bearer": []}]
    assert "202" in report["responses"]
    assert "application/problem+json" in report["responses"]["422"]["content"]


async def test_changes_at_once_are_all_counted(world: World) -> None:
    """Each is made to what the one before it left, and the answer that is kept is the last one's."""
    before = (await world.call("GET", "/users/3", user="carol")).json()["version"]
    answers = await asyncio.gather(
        *(world.call("PATCH", "/api/user/update", {"phoneNumber": f"+1 5{n}"}, user="carol") for n in range(20))
    )
    versions = {answer.json()["data"]["version"] for answer in answers}
    assert versions == set(range(before + 1, before + 21))
    [last] = [answer.json()["data"] for answer in answers if answer.json()["data"]["version"] == before + 20]
    assert (await world.call("GET", "/users/3", user="carol")).json() == last


async def test_orders_at_once_of_what_nobody_has_ordered_yet(world: World) -> None:
    new = [f"new {n} {uuid.uuid4().hex[:8]}" for n in range(4)]
    lists = [new, new[::-1]] * 8
    answers = await asyncio.gather(
        *(
            world.call("POST", "/api/orders", {"items": [{"product": name, "quantity": 1} for name in names]})
            for names in lists
        )
    )
    assert [answer.status_code for answer in answers] == [201] * 16


async def test_many_at_once(world: World) -> None:
    """The application's sessions and the worker share one database; nobody is told that it is locked."""
    answers = await asyncio.gather(
        *(world.call("POST", "/api/orders", {"items": [{"product": "desk", "quantity": 1}]}) for _ in range(40))
    )
    assert {answer.status_code for answer in answers} == {201}
    subjects = {f"Your order {answer.json()['id']}" for answer in answers}
    await world.received.until(lambda r: subjects <= {letter.subject for letter in r.letters}, timeout=60)
    assert world.received.duplicates == 0
