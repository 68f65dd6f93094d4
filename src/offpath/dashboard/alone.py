"""The dashboard by itself: `offpath dashboard`."""

from __future__ import annotations

import hmac
import socket
from importlib.util import find_spec

from ..admin import Admin
from ..app import Offpath
from ..errors import ConfigurationError
from ..http.face import Face
from ..http.home import loopback
from ..http.messages import Caller
from .asgi import LOCAL, Dashboard, keeper
from .gate import Scope, Unknown

SHORTEST = 16  # characters of a token


def check(host: str, token: str | None) -> None:
    """ConfigurationError for what would open it to everybody, and without a server to run it."""
    if token is not None and (len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigurationError(
            f"--token is {SHORTEST} or more visible ASCII characters; `openssl rand -hex 16` makes one"
        )
    if token is None and host != "localhost" and not loopback(host):
        raise ConfigurationError(
            f"--host {host} can be reached from elsewhere: give a --token (or OFFPATH_DASHBOARD_TOKEN) to sign in with"
        )
    if find_spec("uvicorn") is None:
        raise ConfigurationError("the dashboard alone is served by uvicorn: pip install uvicorn")


def application(jobs: Offpath, *, token: str | None = None, writable: bool = False, actor: str = LOCAL) -> Dashboard:
    """What is served: to whoever has the token, or, without one, to this machine. `actor`: who the audit log says it
    was, since nobody can tell who has the token."""
    face = Face(jobs, caller=None, public=True)
    if token is None:
        return Dashboard(Admin(), face.service, ask=None, writable=writable, local=actor)
    who, wanted = keeper(face.service, writable, actor), f"Bearer {token}".encode()

    async def ask(scope: Scope) -> Caller:
        said = next((value for name, value in scope["headers"] if name.lower() == b"authorization"), b"")
        if not hmac.compare_digest(said, wanted):
            raise Unknown
        return who

    return Dashboard(Admin(), face.service, ask=ask)


def serve(jobs: Offpath, host: str, port: int, *, token: str | None, writable: bool, actor: str) -> None:
    """Until SIGINT or SIGTERM; prints a line `ready URL` when it answers. ConfigurationError: the port is taken."""
    import uvicorn

    app = application(jobs, token=token, writable=writable, actor=actor)
    config = uvicorn.Config(app, log_level="warning", server_header=False, lifespan="off")
    with listen(host, port) as listening:
        name = f"[{host}]" if ":" in host else host
        print(f"ready http://{name}:{listening.getsockname()[1]}", flush=True)  # noqa: T201 - what it is for
        uvicorn.Server(config).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """ConfigurationError: the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # That it is TCP is said, or asyncio does not turn Nagle's algorithm off, and answers are 40 ms late.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigurationError(f"--host {host} --port {port} cannot be listened on: {error}") from None
    return listening
