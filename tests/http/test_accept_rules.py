"""An operation has one owner: no other call takes its job over."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from offpath import Offpath
from offpath.errors import ConfigurationError
from offpath.integrations.fastapi import Accepted, Acceptor, Operations


@pytest.mark.parametrize("rule", [{"latest": True}, {"debounce": 5}, {"throttle": 5}])
def test_accept_takes_no_rule_for_a_key(tmp_path: Path, rule: dict[str, Any]) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/a.db")
    operations = Operations(jobs, public=True)
    api = FastAPI(lifespan=jobs.lifespan)
    api.include_router(operations.router)
    api.state.stranger = True  # an error of the programmer's is raised as it is

    @jobs.task
    async def report(n: int) -> int:
        return n

    @api.post("/reports", status_code=202)
    async def start(accept: Annotated[Acceptor, Depends(operations.acceptor)]) -> Accepted[int]:
        return await accept.using(key="k", **rule)(report, n=1)

    with TestClient(api) as client, pytest.raises(ConfigurationError, match=f"but not {next(iter(rule))}"):
        client.post("/reports")
