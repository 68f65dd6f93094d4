"""`python -m examples.auth_service.serve`: the service with one worker process, until Ctrl-C.

Creates and migrates the database, fills in the development data, prints `ready http://127.0.0.1:P` when it answers.
"""

import argparse
import contextlib
import os
import socket
import sys

import anyio

from offpath import OffpathError

from ..accounts import webserver
from ..accounts.processes import add_options, obey, worker_beside
from ..urls import SettingsError
from .settings import settings

DATABASE = "AUTH_DATABASE"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.auth_service.serve", description="The auth service's API and one worker process."
    )
    parser.add_argument("--port", type=int, default=8001, metavar="P", help="on 127.0.0.1; 0: any free one (8001)")
    parser.add_argument("--no-worker", action="store_true", help="only the API")
    add_options(parser, DATABASE)
    options = parser.parse_args()
    obey(parser, options, DATABASE)
    try:
        settings()
        sock, url = webserver.listen(options.port)
    except SettingsError as error:
        print(f"auth: {error}", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        print(f"auth: cannot listen on port {options.port}: {error}", file=sys.stderr)
        return 1
    os.environ["AUTH_BASE_URL"] = url
    os.environ["AUTH_DEV_IDENTITIES"] = "1"
    settings.cache_clear()  # they say now where we listen
    try:
        anyio.run(run, sock, url, not options.no_worker)
    except OffpathError as error:  # the database cannot be opened, or is newer than we are
        print(f"auth: {error}", file=sys.stderr)
        return 2
    return 0


async def run(sock: socket.socket, url: str, with_worker: bool) -> None:
    from .seed import prepare, tables_and_members

    await prepare()
    from .app import api, jobs  # imported only now: it opens what the settings name

    jobs.migrate()
    await tables_and_members()
    worker = worker_beside("examples.auth_service.worker") if with_worker else contextlib.nullcontext()
    async with worker, webserver.serving(api, sock, signals=True) as server:
        await webserver.answers(f"{url}/openapi.json")
        print(f"ready {url}", flush=True)
        await server.stopping.wait()


if __name__ == "__main__":
    sys.exit(main())
