"""docs/reference/openapi.md: the snippet gives the document that the page tells of."""

import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "openapi.md"


def test_the_document_is_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {"__name__": "page_about_openapi"}
    exec(compile(snippet, str(PAGE), "exec"), module)
    document = module["api"].openapi()
    validate(document)
    start = document["paths"]["/exports"]["post"]
    assert {"202", "401", "403", "409", "422", "503"} <= set(start["responses"])
    assert list(start["callbacks"]) == ["export_ended"]
    assert set(document["webhooks"]) == {"operation.succeeded", "operation.failed", "operation.canceled"}
    assert set(start["responses"]["202"]["links"]) == {"get", "result", "events", "cancel"}
    assert start["responses"]["202"]["content"]["application/json"]["schema"]["$ref"].endswith("/Operation_Export_")
    assert start["responses"]["403"]["content"]["application/problem+json"]["schema"]["$ref"].endswith(
        "ProblemDocument"
    )
    module["jobs"].close()
