"""`python3 dev.py serve`: the application with one worker process, until Ctrl-C.

Creates and migrates the database, fills in the development data, prints `ready http://127.0.0.1:P` when it answers.
`--with-auth`: and the auth service beside it, which hears of what happens here.
"""

import argparse
import contextlib
import os
import secrets
import shlex
import socket
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec

import anyio

from offpath import OffpathError

from ..urls import on_sqlite
from . import webserver
from .processes import FLAG, Child, add_options, obey, worker_beside
from .settings import Settings, SettingsError, settings

HELP = """
Try it ({url}/docs does the same in a browser: Authorize with dev-alice).
See it run: {url}/dashboard, and sign in with dev-admin.

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

AUTH_HELP = """
The auth service runs at {url}. Turn custom sign-on of organization 1 off (above), and its members' links go:

  curl -H 'Authorization: Bearer dev-alice' {url}/sso-links?organization=1

  # a list of members, as an operation
  curl -i -X POST -H 'Authorization: Bearer dev-alice' -H 'Content-Type: application/json' \\
       -d '{{"members": [1, 2, 3]}}' {url}/sso-links/unlink
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py serve", description="The example's API and one worker process.")
    parser.add_argument("--port", type=int, default=8000, metavar="P", help="on 127.0.0.1; 0: any free one (8000)")
    parser.add_argument("--no-worker", action="store_true", help="only the API")
    parser.add_argument(
        "--with-auth",
        action="store_true",
        help="the auth service too, with a database of its own (AUTH_DATABASE, or one beside ours); it hears from us "
        "through ACCOUNTS_BROKER, or by HTTP",
    )
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
        anyio.run(run, sock, url, named(options), not options.no_worker, options.with_auth, backend_options=loop)
    except (OffpathError, SettingsError) as error:  # the database cannot be opened, or is newer than we are
        print(f"serve: {error}", file=sys.stderr)
        return 2
    return 0


def named(options: argparse.Namespace) -> str:
    """The database as the next command line may name it. A password is shown only to whoever has just typed it."""
    given = options.database or (None if os.environ.get("ACCOUNTS_DATABASE") else settings().database)
    return shlex.quote(given) if given else '"$ACCOUNTS_DATABASE"'


async def run(sock: socket.socket, url: str, database: str, with_worker: bool, with_auth: bool) -> None:
    if with_auth:
        async with auth_service(settings()):
            await serve(sock, url, database, with_worker)
    else:
        await serve(sock, url, database, with_worker)


@contextlib.asynccontextmanager
async def auth_service(at: Settings) -> AsyncIterator[None]:
    """The other service and its worker, told of events through our broker, or else by HTTP."""
    os.environ.setdefault("AUTH_DATABASE", neighbour(at.database))
    token = os.environ.setdefault("AUTH_EVENTS_TOKEN", secrets.token_urlsafe())
    if at.broker is not None and not at.broker.startswith("http"):
        os.environ.setdefault("AUTH_BROKER", at.broker)
    command = ("examples.auth_service.serve", "--port", "0", FLAG)
    service = await Child.start(*command, echo=True, but="ready ")  # there is one such line, and it is ours
    try:
        try:
            url = (await service.line("ready ")).removeprefix("ready ")
        except RuntimeError:
            raise SettingsError("the auth service did not start; what it said is above") from None
        if at.broker is None:
            os.environ["ACCOUNTS_BROKER"] = f"{url.replace('://', f'://{token}@')}/events"
            settings.cache_clear()
        print(AUTH_HELP.format(url=url), flush=True)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await service.stop()


def neighbour(database: str) -> str:
    """The auth service's database, where nothing else is said: beside ours."""
    if on_sqlite(database):
        folder, slash, name = database.rpartition("/")
        return f"{folder}{slash}auth.db" if name != "auth.db" else f"{folder}{slash}auth-service.db"
    before, question, options = database.partition("?")
    return f"{before}_auth{question}{options}"


async def serve(sock: socket.socket, url: str, database: str, with_worker: bool) -> None:
    from .app import api, jobs  # imported only now: it opens what the settings name
    from .seed import create_database, create_tables, development_data

    await create_database()
    jobs.migrate()
    await create_tables()
    await development_data()
    worker = worker_beside("examples.accounts.worker") if with_worker else contextlib.nullcontext()
    async with worker, webserver.serving(api, sock, signals=True) as server:
        await webserver.answers(f"{url}/openapi.json")
        print(f"ready {url}", flush=True)
        at = settings()
        print(HELP.format(url=url, smtp=at.smtp_url, push=at.push_url, database=database), flush=True)
        await server.stopping.wait()
        print("stopping: answers in progress first, then the worker", flush=True)


if __name__ == "__main__":
    sys.exit(main())
