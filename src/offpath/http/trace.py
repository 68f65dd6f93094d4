"""Incoming trace context: one ASGI middleware, for every framework that is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..core.trace import Trace, parse
from ..tracing import anywhere, within
from .asgi import App, Receive, Scope, Send

OURS = frozenset({b"traceparent", b"tracestate"})
Trust = bool | Callable[[Scope], bool]


class TraceContext:
    """ASGI middleware: what a request enqueues is a part of the trace that its `traceparent` names (W3C Trace Context).

    Without that header, or with one that is not valid, each job begins a trace of its own; nothing is ever refused.

    trust_trace  False for requests from outside: their trace ends at the door, and with it their word on what is
                 recorded (`sampled`) and their `tracestate`; what is inside does not see these headers. A function of
                 the ASGI scope decides for each request.

    `install_problem_handlers` adds it. Instrumentation that sits further out, as FastAPI's own does, has read the
    headers before: put `TraceContext(app, trust_trace=False)` around the whole application then.
    """

    def __init__(self, app: App, trust_trace: Trust = True) -> None:
        self.app = app
        self.trust_trace = trust_trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = None
        for name, _ in scope["headers"]:
            if name == b"traceparent":
                if self._trusts(scope):
                    trace = incoming(scope["headers"])
                else:
                    # In place: what is further out may look into this scope afterwards, for the route, say.
                    scope["headers"] = [line for line in scope["headers"] if line[0] not in OURS]
                break
        if trace is None and not anywhere():  # as most requests: no more than a look
            await self.app(scope, receive, send)
            return
        with within(trace):
            await self.app(scope, receive, send)

    def _trusts(self, scope: Scope) -> bool:
        return self.trust_trace if isinstance(self.trust_trace, bool) else self.trust_trace(scope)


def incoming(headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
    """The trace that the headers of an ASGI scope name; None unless they are valid."""
    lines: dict[bytes, list[str]] = {name: [] for name in OURS}
    for name, value in headers:
        if name in lines:
            lines[name].append(value.decode("latin-1"))
    return parse(lines[b"traceparent"], lines[b"tracestate"])
