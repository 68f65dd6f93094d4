"""Errors as RFC 9457 problem+json. offpath's handlers cover what FastAPI, our routes and offpath itself raise;
`refusals` what our database refuses. `documented` says in the OpenAPI document which a route may give.
"""

from fastapi import FastAPI

from offpath.integrations.fastapi import install_problem_handlers, problem_responses

from .. import refusals
from .settings import settings

documented = problem_responses


def install(api: FastAPI) -> None:
    install_problem_handlers(api, larger={"/api/files": settings().max_upload})
    refusals.install(api)
