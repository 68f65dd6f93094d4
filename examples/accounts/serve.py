"""`python3 dev.py serve`: the application with one worker process, until Ctrl-C.

Creates and migrates the database, fills in the development data, prints `ready http://127.0.0.1:P` when it answers.
"""

import argparse
import contextlib
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec

import anyio
import httpx2

from offpath import OffpathError

from . import webserver
from .processes import FLAG, Child, add_options, obey
from .settings import SettingsError, settings

HELP = """
Try it ({url}/docs does the same in a browser: Authorize with dev-alice):

  curl -i -H 'Authorization: Bearer dev-alice' {url}/users/1

  # the row, a push job and an e-mail job in one transaction; nothing to wait for
  curl -i -X PATCH -H 'Authorization: Bearer dev-alice' -H 'Content-Type: application/json' \\
       -d '{{"phoneNumber": "+1 555 0199"}}' {url}/api/user/update

  # the same change, awaited; with -H 'Prefer: respond-async' it is a 202
  curl -i -X PUT -H 'Authorization: Bearer dev-alice' -H 'Content-Type: application/json' \\
       -d '{{"username": "alice", "email": "alice@acme.example", "phoneNumber": null}}' {url}/users/1

  # a JSON Patch of one operation; with -H 'If-Match: "1"' only if that is still the version
  curl -i -X PATCH -H 'Authorization: Bearer dev-alice' -H 'Content-Type: application/json-patch+json' \\
       -d '{{"op": "replace", "path": "/allow-custom-sso", "value": false}}' {url}/org/1

  # 202: a report of 100 rows. Then watch the operation that Location names
  curl -i -X POST -H 'Authorization: Bearer dev-alice' -H 'Content-Type: application/json' \\
       -d '{{"title": "sales", "rows": 100, "delay_ms": 100}}' {url}/api/reports
  curl -N -H 'Authorization: Bearer dev-alice' {url}/operations/ID/events

  # a file, streamed to disk; a job in a process of its own counts what is in it
  curl -i -X POST -H 'Authorization: Bearer dev-alice' -F file=@README.md {url}/api/files
  curl -i -X POST -H 'Authorization: Bearer dev-alice' {url}/operations/ID/cancel
  curl -i -H 'Authorization: Bearer dev-alice' {url}/operations

E-mail goes to {smtp}, push to {push}.
`python -m examples.accounts.receivers` in another terminal receives both; until something does, they are retried.
One more worker: python3 dev.py worker --database {database}
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py serve", description="The example's API and one worker process.")
    parser.add_argument("--port", type=int, default=8000, metavar="P", help="on 127.0.0.1; 0: any free one (8000)")
    parser.add_argument("--no-worker", action="store_true", help="only the API")
    add_options(parser)
    options = parser.parse_args()
    obey(parser, options)
    try:
        settings()
        sock, url = webserver.listen(options.port)
    except SettingsError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as error:
        print(f"serve: cannot listen on port {options.port}: {error}", file=sys.stderr)
        return 1
    os.environ["ACCOUNTS_BASE_URL"] = url
    os.environ["ACCOUNTS_DEV_IDENTITIES"] = "1"
    settings.cache_clear()  # they say now where we listen
    loop = {"use_uvloop": find_spec("uvloop") is not None}
    try:
        anyio.run(run, sock, url, named(options), not options.no_worker, backend_options=loop)
    except OffpathError as error:  # the database cannot be opened, or is newer than we are
        print(f"serve: {error}", file=sys.stderr)
        return 2
    return 0


def named(options: argparse.Namespace) -> str:
    """The database as the next command line may name it. A password is shown only to whoever has just typed it."""
    given = options.database or (None if os.environ.get("ACCOUNTS_DATABASE") else settings().database)
    return shlex.quote(given) if given else '"$ACCOUNTS_DATABASE"'


async def run(sock: socket.socket, url: str, database: str, with_worker: bool) -> None:
    from .app import api, jobs  # imported only now: it opens what the settings name
    from .seed import create_database, create_tables, development_data

    await create_database()
    jobs.migrate()
    await create_tables()
    await development_data()
    worker = worker_process() if with_worker else contextlib.nullcontext()
    async with worker, webserver.serving(api, sock, signals=True) as server:
        await answers(url)
        print(f"ready {url}", flush=True)
        at = settings()
        print(HELP.format(url=url, smtp=at.smtp_url, push=at.push_url, database=database), flush=True)
        await server.stopping.wait()
        print("stopping: answers in progress first, then the worker", flush=True)


@contextlib.asynccontextmanager
async def worker_process() -> AsyncIterator[Child]:
    """One worker beside the API. It is not started again when it ends: who kills it wants to see what happens then."""
    worker = await Child.start("examples.accounts.worker", FLAG, echo=True)

    async def tell() -> None:
        code = await worker.process.wait()
        print(f"the worker process ended (exit code {code}); jobs wait until there is another one", flush=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        try:
            yield worker
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await stopped(worker)


async def stopped(worker: Child) -> None:
    """The worker lets running jobs finish for a while; a second signal to us is passed on, and it stops at once."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def hurry() -> None:
                async for _ in signals:
                    worker.ask()

            tasks.start_soon(hurry)
            await worker.stop()
            tasks.cancel_scope.cancel()


async def answers(url: str) -> None:
    """Return when the API really answers a request."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
        while True:
            with contextlib.suppress(httpx2.TransportError):
                (await http.get(f"{url}/openapi.json")).raise_for_status()
                return
            await anyio.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
