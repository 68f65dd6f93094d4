"""The admin API in the OpenAPI document, and its answers held against that."""

from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

from offpath.admin import Admin
from offpath.http.messages import Caller, Refused, Request
from tests.admin.place import MAY
from tests.admin.test_refusals import ROWS
from tests.http.site import Site

pytestmark = pytest.mark.anyio


def test_the_document_is_valid_and_has_every_row(site: Site) -> None:
    document = site.api.openapi()
    validate(document)
    ids = {one["operationId"] for path in document["paths"].values() for one in path.values() if "operationId" in one}
    assert {row.name for row in ROWS} <= ids
    for row in ROWS:
        described = document["paths"]["/admin" + row.path][row.methods.split()[0].lower()]
        assert {"401", "403", "503"} <= described["responses"].keys()
        assert ("requestBody" in described) == (row.takes is not None)


async def test_answers_are_as_the_document_says(site: Site, root: httpx.AsyncClient) -> None:
    document: dict[str, Any] = site.api.openapi()

    def held(path: str, method: str, answer: httpx.Response) -> None:
        said = document["paths"][path][method]["responses"][str(answer.status_code)]
        schema = said["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json())

    job = await site.echo.enqueue(1)
    async with site.client("alice") as alice:
        seen = (await site.start(alice, "echo", value=1)).rpartition("/")[2]
    held("/admin/jobs", "get", await root.get("/admin/jobs"))
    for id in (job.id, seen):
        held("/admin/jobs/{job_id}", "get", await root.get(f"/admin/jobs/{id}?arguments=true"))
        held("/admin/jobs/{job_id}/graph", "get", await root.get(f"/admin/jobs/{id}/graph"))
    held("/admin/jobs/{job_id}/cancel", "post", await root.post(f"/admin/jobs/{job.id}/cancel"))
    held("/admin/jobs/{job_id}", "get", await root.get(f"/admin/jobs/{job.id}"))
    held("/admin/jobs/{job_id}/retry", "post", await root.post(f"/admin/jobs/{job.id}/retry"))
    body = {"action": "retry", "filter": {"state": "canceled"}}
    held("/admin/jobs:preview", "post", await root.post("/admin/jobs:preview", json=body))
    held("/admin/jobs:bulk", "post", await root.post("/admin/jobs:bulk", json=body))
    held("/admin/audit", "get", await root.get("/admin/audit"))


async def test_a_row_is_called_without_a_server(site: Site) -> None:
    """As the dashboard does: the same guards, and refusals that are raised."""
    admin = Admin()
    await site.echo.enqueue(1)

    def asked(who: str, method: str = "GET", **params: str) -> Request:
        async def body() -> bytes:
            return b""

        return Request(method, params, [], {}, Caller(who, "", MAY.get(who)), "http://site.test/operations", body)

    answer = await admin.call(site.service, "admin_list_jobs", asked("reader"))
    assert answer.status == 200
    with pytest.raises(Refused) as refused:
        await admin.call(site.service, "admin_list_jobs", asked("alice"))
    assert refused.value.document["status"] == 403
    with pytest.raises(LookupError, match="no row 'admin_eat'"):
        await admin.call(site.service, "admin_eat", asked("root"))
