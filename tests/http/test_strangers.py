"""wire.md section 3: what other people's tools make of our OpenAPI document, with every feature described in it."""

import json
import subprocess
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends
from openapi_spec_validator import validate

from offpath.integrations.fastapi import Accepted, Acceptor
from tests.http.site import Report, ReportRequest, Site

HERE = Path(__file__).parent


def everything(site: Site) -> dict[str, Any]:
    """The document of the site with a callback, webhooks and a view besides."""
    api, operations = site.api, site.operations
    api.webhooks.include_router(operations.webhook_docs)
    api.servers = [{"url": "/"}]
    api.license_info = {"name": "Apache 2.0", "identifier": "Apache-2.0"}

    async def start_export(
        body: ReportRequest, accept: Annotated[Acceptor, Depends(operations.acceptor)]
    ) -> Accepted[Report]:
        return await accept(site.render, period=body.period)

    api.post(
        "/exports",
        status_code=202,
        operation_id="start_export",
        responses=operations.responses,
        callbacks=operations.callback_docs("{$request.body#/webhookUrl}", Report),
    )(start_export)
    api.include_router(operations.view("/jobs/{operation_id}/status", "By its old name"))
    return api.openapi()


def reference() -> dict[str, Any]:
    from examples.accounts.app import api

    return api.openapi()


@pytest.fixture(params=["site", "reference"])
def document(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(everything(request.getfixturevalue("site")) if request.param == "site" else reference()))
    return path


def run(*words: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=270, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_doc_01_mistake_15_openapi_spec_validator(document: Path) -> None:
    said = json.loads(document.read_text())
    validate(said)
    assert said["openapi"].startswith("3.1")
    assert "itemSchema" not in document.read_text()
    assert said["webhooks"]


def test_doc_01_redocly(document: Path, node_modules: Path, tmp_path: Path) -> None:
    config = tmp_path / "redocly.yaml"
    # The site takes its callers' names from a plain header, as tests may: its routes have no security scheme.
    config.write_text("extends: [recommended]\nrules:\n  security-defined: off\n  operation-4xx-response: off\n")
    run(node_modules / ".bin" / "redocly", "lint", document, "--config", config, "--format", "stylish")


def test_doc_01_doc_02_spectral(document: Path, node_modules: Path) -> None:
    run(node_modules / ".bin" / "spectral", "lint", "--fail-severity", "error", "-r", HERE / "spectral.yaml", document)


@pytest.mark.parametrize("broken", ["headers", "get"])
def test_our_own_rules_for_spectral_can_fail(site: Site, node_modules: Path, tmp_path: Path, broken: str) -> None:
    said = everything(site)
    if broken == "headers":
        del said["paths"]["/exports"]["post"]["responses"]["202"]["headers"]["Location"]
    else:
        said["paths"]["/exports"]["get"] = said["paths"]["/exports"].pop("post")
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(said))
    with pytest.raises(AssertionError, match="lro-"):
        run(node_modules / ".bin" / "spectral", "lint", "-r", HERE / "spectral.yaml", path)
