"""What the OpenAPI document says is what is there: typed operations, headers, problems, parameters."""

from typing import Annotated, Any, get_args

import pytest
from fastapi import APIRouter, Depends, FastAPI, Response
from openapi_spec_validator import validate
from pydantic import BaseModel

from offpath.core.events import EventType
from offpath.errors import ConfigurationError
from offpath.http import Reply
from offpath.http.routes import ROUTES
from offpath.integrations.fastapi import Accepted, Acceptor
from tests.http.site import Report, Site


@pytest.fixture
def document(site: Site) -> dict[str, Any]:
    return site.api.openapi()


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def test_doc_01_06_it_is_valid_for_the_version_it_names(document: dict[str, Any]) -> None:
    validate(document)
    assert "itemSchema" not in str(document)


def test_doc_02_03_a_start_operation_is_typed(document: dict[str, Any]) -> None:
    start = document["paths"]["/reports"]["post"]
    answer = start["responses"]["202"]
    assert {"Location", "Retry-After"} <= set(answer["headers"])
    schema = resolve(document, answer["content"]["application/json"]["schema"])
    assert {"id", "status", "done", "links", "result", "error"} <= set(schema["properties"])
    result = [resolve(document, kind) for kind in schema["properties"]["result"]["anyOf"]]
    assert {"type": "null"} in result
    assert any(kind.get("title") == "Report" for kind in result)
    for status in ("409", "422", "503"):
        assert "application/problem+json" in start["responses"][status]["content"]
    plain = document["paths"]["/plain"]["post"]["responses"]["202"]["content"]["application/json"]["schema"]
    assert {"type": "integer"} in resolve(document, plain)["properties"]["result"]["anyOf"]


def test_doc_02_every_route_and_status_is_described(document: dict[str, Any]) -> None:
    for route in ROUTES:
        method = route.methods.split()[0].lower()
        if not route.shown:
            assert route.path not in document["paths"]
            continue
        described = document["paths"][route.path][method]
        assert described["operationId"] == route.name
        good = {status for status in described["responses"] if status < "400"}
        assert good == {str(status) for status in route.answers}
        assert "application/problem+json" in described["responses"]["default"]["content"]
        named = {(p["in"], p["name"]) for p in described.get("parameters", ())}
        assert {(p["in"], p["name"]) for p in route.parameters} <= named
        assert (("path", "operation_id") in named) is ("operation_id" in route.path)
        for status, said in described["responses"].items():
            if status in ("204", "304"):
                assert "content" not in said
            elif status.isdigit() and int(status) >= 400:
                assert list(said["content"]) == ["application/problem+json"]


class Other(BaseModel):
    size: int


async def test_doc_02_pref_a_start_route_says_what_a_wait_is_answered(site: Site) -> None:
    """200 with the result's own type and the header, unless the route says something else of 200 itself."""
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]
    router = APIRouter(route_class=site.operations.route)

    @router.post("/typed", status_code=202)
    async def typed(accept: accepts) -> Accepted[Report]:
        return await accept(site.render, period="q3")

    @router.post("/both", status_code=202, response_model=Other | Accepted[Report])
    async def both(accept: accepts) -> Any: ...

    @router.post("/nothing", status_code=202)
    async def nothing(accept: accepts) -> Accepted[None]: ...

    @router.post("/untyped", status_code=202)
    async def untyped(accept: accepts) -> Response: ...

    @router.post("/file", status_code=202)
    async def file(accept: accepts) -> Accepted[Reply]: ...

    @router.post("/declared", status_code=202, responses={200: {"model": Other, "description": "My own"}})
    async def declared(accept: accepts) -> Accepted[Report]: ...

    @router.put("/awaited")
    async def awaited(accept: accepts) -> Other: ...

    site.api.include_router(router)
    document = site.api.openapi()
    validate(document)
    mine = ("/typed", "/both", "/nothing", "/untyped", "/file", "/declared", "/awaited")
    said = {path: next(iter(document["paths"][path].values()))["responses"]["200"] for path in mine}
    schemas = {path: one["content"].get("application/json", {}).get("schema") for path, one in said.items()}
    for path in ("/typed", "/both"):
        assert resolve(document, schemas[path])["title"] == "Report"
    assert schemas["/nothing"]["type"] == "null"
    assert schemas["/untyped"] == {}
    assert list(said["/file"]["content"]) == ["*/*"]
    for path in ("/declared", "/awaited"):
        assert resolve(document, schemas[path])["title"] == "Other"
        assert "headers" not in said[path]
    assert said["/declared"]["description"] == "My own"
    async with site.client() as alice, site.jobs.worker():
        answer = await alice.post("/typed", headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()) == (200, {"url": "/files/q3"})
    for name, header in said["/typed"]["headers"].items():
        assert not header["required"] or name in answer.headers, name


async def test_a_view_is_the_operation_under_another_path(site: Site) -> None:
    site.api.include_router(site.operations.view("/jobs/{operation_id}/status", "By its old name", tags=["old"]))
    async with site.client("alice") as alice, site.client("bob") as bob:
        url = await site.start(alice, "echo", value=1)
        old = f"/jobs/{url.rpartition('/')[2]}/status"
        same = await alice.get(old)
        assert same.content == (await alice.get(url)).content
        assert (await alice.get(old, headers={"If-None-Match": same.headers["etag"]})).status_code == 304
        assert (await alice.head(old)).headers["etag"] == same.headers["etag"]
        assert (await bob.get(old)).status_code == 404
        refused = await alice.delete(old)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert (await alice.get(old + "/")).status_code == 404
    said = site.api.openapi()["paths"]["/jobs/{operation_id}/status"]["get"]
    assert (said["operationId"], said["tags"], said["summary"]) == ("jobs_status", ["old"], "By its old name")
    with pytest.raises(ConfigurationError, match="operation_id"):
        site.operations.view("/jobs/{id}", "x")


def test_doc_04_callbacks_and_webhooks(site: Site) -> None:
    """A URL in the request is described where it is given, by a runtime expression; endpoints at the top."""
    api = FastAPI(webhooks=site.operations.webhook_docs)
    url = "{$request.body#/webhookUrl}"

    @api.post("/one", status_code=202, callbacks=site.operations.callback_docs(url, Report))
    async def one() -> None: ...

    @api.post("/two", status_code=202, callbacks=site.operations.callback_docs(url, name="two_ended"))
    async def two() -> None: ...

    document = api.openapi()
    validate(document)
    assert set(document["webhooks"]) == {"operation.succeeded", "operation.failed", "operation.canceled"}
    (called,) = document["paths"]["/one"]["post"]["callbacks"].values()
    assert list(called) == [url]
    for said in (*document["webhooks"].values(), called[url]):
        assert {p["name"] for p in said["post"]["parameters"] if p["in"] == "header" and p["required"]} == {
            *("webhook-id", "webhook-timestamp", "webhook-signature")
        }
        body = resolve(document, said["post"]["requestBody"]["content"]["application/json"]["schema"])
        assert set(body["required"]) == {"type", "timestamp", "data"}
        assert {"sequence", "status", "links"} <= set(resolve(document, body["properties"]["data"])["properties"])
        assert {"204", "410", "429", "default"} == set(said["post"]["responses"])
        assert said["post"]["security"] == []
    data = resolve(document, called[url]["post"]["requestBody"]["content"]["application/json"]["schema"])
    result = resolve(document, data["properties"]["data"])["properties"]["result"]
    assert [resolve(document, kind).get("title") for kind in result["anyOf"]] == ["Report", None]
    assert "two_ended" in document["paths"]["/two"]["post"]["callbacks"]
    with pytest.raises(ConfigurationError, match="expression"):
        site.operations.callback_docs("https://example.org")


async def test_doc_05_links_from_a_202_lead_to_its_operation(document: dict[str, Any], site: Site) -> None:
    paths = {
        said["operationId"]: (path, method) for path, of in document["paths"].items() for method, said in of.items()
    }
    links = document["paths"]["/reports"]["post"]["responses"]["202"]["links"]
    assert set(links) == {"get", "result", "events", "cancel"}
    async with site.client() as alice:
        body = (await alice.post("/reports", json={"period": "q3"})).json()
        for name, link in links.items():
            assert link["parameters"] == {"operation_id": "$response.body#/id"}
            path, method = paths[link["operationId"]]
            url = "http://site.test" + path.format(operation_id=body["id"])
            assert body["links"]["self" if name == "get" else name] == url
            answer = await alice.request(method, url, headers={"Accept": "application/json"})
            assert answer.status_code in (200, 202), name


async def test_doc_02_the_headers_of_a_202_are_the_described_ones(document: dict[str, Any], site: Site) -> None:
    described = document["paths"]["/reports"]["post"]["responses"]["202"]["headers"]
    async with site.client() as alice:
        sent = (await alice.post("/reports", json={"period": "q3"})).headers
    assert set(sent) - {name.lower() for name in described} <= {"content-type", "content-length", "vary"}
    assert {name.lower() for name, header in described.items() if header["required"]} <= set(sent)
    assert described["Retry-After"]["schema"] == {"type": "integer", "minimum": 1}


def test_doc_06_the_names_of_the_events_are_said_outside_the_schema(document: dict[str, Any]) -> None:
    stream = document["paths"]["/operations/{operation_id}/events"]["get"]["responses"]["200"]["content"]
    assert document["openapi"].startswith("3.1.")
    assert stream["text/event-stream"]["schema"] == {"type": "string"}
    named = set(stream["text/event-stream"]["x-sse-events"])
    assert named == {"operation.snapshot"} | {f"operation.{name}" for name in get_args(EventType)}


def test_doc_07_no_async_in_operation_ids(document: dict[str, Any]) -> None:
    ids = [said["operationId"] for path in document["paths"].values() for said in path.values()]
    assert len(ids) == len(set(ids))
    assert not [id for id in ids if "async" in id.lower()]
