"""One face of an application, configured once for every framework: the service, who may ask, where links lead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from itertools import count
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import urlsplit

from ..app import Offpath
from ..core.checks import check_name, number, whole
from ..errors import ConfigurationError
from .accept import SAFE
from .asgi import going_down, root
from .gate import FIRST_IN_LINE, Gate
from .guard import ACTIONS, foreign, token_in
from .keys import Keys
from .limits import Bounds, Quota, Windows
from .messages import Caller, Refused
from .operations import INLINE
from .problems import BASE, Problems
from .service import Service
from .tickets import LONGEST
from .watch import Watcher

PUBLIC = Caller("public")
NOBODY = Caller("")  # before a ticket has said for whom it opens
_serial = count()


class Options(TypedDict, total=False):
    """What an application says of its operations over HTTP; every framework's `Operations` takes these.

    base_url       the public URL of this application's root, for links; without it the Host header, if it is one of
                   `trusted_hosts`, else the address the server listens on
    secret         of the list's cursors; default: made from the database's URL (see `http/service.py`)
    problem_base   what problem types begin with
    compat         "azure" (the default): also send `Operation-Location`
    redirect_on_success   GET of a succeeded operation is 303 to its result
    inline_result  bytes of a result that are part of the operation (64 KiB)
    max_wait       longest held poll, s (30)
    heartbeat      longest silence on a stream, s (15)
    max_streams    held polls and streams of one process together (1,000)
    session            what makes the sessions of `once` routes: SQLAlchemy's `sessionmaker` or `async_sessionmaker`, on
                       the database of the jobs. Without it their work is in another database
    idempotency_ttl    for how long the answer to a request with an Idempotency-Key is remembered, s (24 h)
    idempotency_lease  without `session`: how long a process that works on a key and says nothing is believed alive,
                       s (15)
    strict_keys        only a String of RFC 9651, in double quotes, is an Idempotency-Key; otherwise a bare token or
                       UUID is one too
    store_5xx          what a handler of a `once` route answers with 500 and above is remembered as well

    Who may do what (docs/how-to/security.md):

    permissions    what an action takes besides ownership: {"cancel": "operations.cancel"}; the actions are start, read,
                   cancel, delete, webhooks, default_secret (which takes "webhooks.default-secret" unless you say
                   another), and admin.read, admin.write and admin.arguments (which take "offpath.read",
                   "offpath.write" and "offpath.arguments"). A caller has them in `permissions`, a collection of texts
    recheck        a function of the Caller, sync or async, that says whether they may still look; asked while a
                   stream is open and after a held poll. It must not block
    recheck_every  seconds between two times that a stream asks (30; at most 60)
    ticket_seconds  how long a ticket for a stream is good (30; at most 60)
    cookie_origins  origins ("https://app.example.org") whose pages may send a browser's cookies here, besides our own.
                   When given, even empty, starts are held to it too: the routes are in any case

    How much (docs/how-to/security.md); refused is 429, or 503 when it is not the caller's doing:

    max_streams_per_caller  of those held polls and streams, one caller's (100; with `public` as many as there are)
    max_live       operations of one caller that have not ended (10,000; with `public`, and for None, any number)
    max_queue_depth  ready jobs in the queue of what is to be started (any number)
    max_queue_age  seconds that the oldest of them has waited (any)
    per_tenant     operations of one tenant among the first 10,000 ready jobs of that queue (any number)
    poll_quota     (count, seconds): polls of one caller, in one process (any number)
    """

    base_url: str | None
    trusted_hosts: Sequence[str]
    secret: str | bytes | None
    problem_base: str
    compat: Literal["azure"] | None
    redirect_on_success: bool
    inline_result: int
    max_wait: float
    heartbeat: float
    max_streams: int
    session: Callable[..., Any] | None
    idempotency_ttl: float
    idempotency_lease: float
    strict_keys: bool
    store_5xx: bool
    permissions: Mapping[str, str]
    recheck: Callable[[Caller], bool | Awaitable[bool]] | None
    recheck_every: float
    ticket_seconds: float
    cookie_origins: Sequence[str] | None
    max_streams_per_caller: int
    max_live: int | None
    max_queue_depth: int | None
    max_queue_age: float | None
    per_tenant: int | None
    poll_quota: tuple[int, int] | None


class Face:
    """`caller` is what the integration was given, or None with `public`. See `Options` for the rest."""

    def __init__(self, jobs: Offpath, *, caller: object | None, public: bool, **options: Unpack[Options]) -> None:
        if (caller is None) is not public:
            raise ConfigurationError(
                "Operations needs caller= (a dependency that says who is asking), or public=True to say that everyone "
                "may see every operation"
                if caller is None
                else "Operations takes caller= or public=True, not both"
            )
        base_url, secret = options.get("base_url"), options.get("secret")
        self.base_url = None if base_url is None else _absolute(base_url, "base_url").rstrip("/")
        self.trusted_hosts = frozenset(host.lower() for host in options.get("trusted_hosts", ()))
        origins = options.get("cookie_origins")
        self.guards_starts = origins is not None
        self.origin = None if base_url is None else _origin(base_url)
        self._origins = frozenset(_origin(one) for one in (*(origins or ()), *((base_url,) if base_url else ())))
        self.prefix = f"offpath{next(_serial)}."  # of route names, so that several faces fit into one application
        self._paths: dict[Any, str] = {}
        problems = Problems(_absolute(options.get("problem_base", BASE), "problem_base"))
        streams = whole(options.get("max_streams", 1_000), 1, 1_000_000, "max_streams")
        each = whole(options.get("max_streams_per_caller", 100), 1, 1_000_000, "max_streams_per_caller")
        needs = _needs(options.get("permissions", {}))
        self.service = service = Service(
            jobs,
            Watcher(lambda: jobs.transport, going_down),
            secret.encode() if isinstance(secret, str) else secret,
            problems,
            whole(options.get("inline_result", INLINE), 0, 1 << 30, "inline_result"),
            number(options.get("max_wait", 30.0), 0, 3_600, "max_wait"),
            number(options.get("heartbeat", 15.0), 0.01, 15, "heartbeat"),
            streams=streams,
            redirect=options.get("redirect_on_success", False),
            operation_location=options.get("compat", "azure") == "azure",
            keys=Keys(
                number(options.get("idempotency_ttl", 86_400.0), 1, 31_536_000, "idempotency_ttl"),
                number(options.get("idempotency_lease", 15.0), 0.1, 3_600, "idempotency_lease"),
                options.get("strict_keys", False),
                options.get("store_5xx", False),
                options.get("session"),
            ),
            each=streams if public else each,
            needs=needs,
            recheck=options.get("recheck"),
            recheck_every=number(options.get("recheck_every", 30.0), 0.01, 60, "recheck_every"),
            ticket=number(options.get("ticket_seconds", LONGEST / 2), 1, LONGEST, "ticket_seconds"),
        )
        live = options.get("max_live", None if public else 10_000)
        bounds = _bounds(options)
        if live is not None or needs or bounds.any():
            most = None if live is None else whole(live, 1, 1_000_000_000, "max_live")
            service.gate = Gate(needs, most, bounds, problems, lambda: service.random())
        if (quota := options.get("poll_quota")) is not None:
            count, seconds = quota
            service.polls = Windows(
                Quota(whole(count, 1, 1_000_000, "poll_quota"), whole(seconds, 1, 86_400, "poll_quota, its seconds"))
            )
        if unknown := options.keys() - Options.__annotations__.keys():
            raise TypeError(f"Operations has no option {sorted(unknown)[0]!r}")

    def close(self) -> None:
        """End every held poll and stream now, for servers that do not say when they stop."""
        self.service.watcher.close()

    def door(self, scope: MutableMapping[str, Any], path: str) -> None:
        """Before anybody is asked who is asking, on each of our routes: Refused for a token in the URL (400), and
        for a browser's cookies from a foreign page (403) where that does something or is read across origins."""
        if (name := token_in(scope.get("query_string", b""))) is not None:
            raise Refused(self.service.problems.problem("token-in-url", f"?{name[:40]}= is not read here"))
        if scope["method"] not in SAFE or path.endswith("/events"):
            self.cookies(scope)

    def cookies(self, scope: MutableMapping[str, Any]) -> None:
        """Refused (403) for a browser's cookies from a foreign page."""
        if foreign(scope["headers"], self._origins):
            raise Refused(self.service.problems.problem("foreign-origin"))

    def base(self, scope: MutableMapping[str, Any], find: Callable[[], str]) -> str:
        """The absolute URL of the collection; `find` looks up its path in the scope's application, once for each."""
        app = scope.get("app")
        path = self._paths.get(app)
        if path is None:
            path = self._paths[app] = find()
        return root(scope, self.base_url, self.trusted_hosts) + path

    def caller(self, said: Any) -> Caller:
        """What a caller dependency gave, as a Caller; Refused (401) for None, ConfigurationError for anything else."""
        if isinstance(said, Caller):
            return said
        if said is None:
            raise Refused(self.service.problems.problem("unauthenticated"))
        tenant, granted = getattr(said, "tenant", None), getattr(said, "permissions", None)
        own = said if isinstance(said, str | int) else getattr(said, "id", None)
        if isinstance(own, bool) or own is None or not str(own):
            raise ConfigurationError(
                f"the caller dependency must give a Caller, text, a number or an object with an id, not "
                f"{type(said).__name__}"
            )
        return Caller(
            str(own), "" if tenant is None else str(tenant), None if granted is None else _permissions(granted)
        )


def _permissions(granted: Any) -> frozenset[str]:
    """A text would count as the collection of its letters."""
    if isinstance(granted, str) or not hasattr(granted, "__iter__"):
        raise ConfigurationError(f"a caller's permissions are a collection of texts, not {granted!r}")
    return frozenset(str(one) for one in granted)


def _needs(permissions: Mapping[str, str]) -> dict[str, str]:
    for action, permission in permissions.items():
        if action not in ACTIONS:
            raise ConfigurationError(f"permissions are for {', '.join(ACTIONS)}; there is no action {action!r}")
        check_name(permission, f"the permission for {action}")
    return dict(permissions)


def _bounds(options: Options) -> Bounds:
    depth, age, share = options.get("max_queue_depth"), options.get("max_queue_age"), options.get("per_tenant")
    return Bounds(
        None if depth is None else whole(depth, 1, 1_000_000, "max_queue_depth"),
        None if age is None else number(age, 0.001, 1e9, "max_queue_age"),
        None if share is None else whole(share, 1, FIRST_IN_LINE, "per_tenant"),
    )


def _origin(url: str) -> str:
    """scheme://host[:port], as browsers write it in Origin."""
    parts = urlsplit(_absolute(url, "an origin"))
    return f"{parts.scheme}://{parts.netloc}".lower()


def _absolute(url: str, what: str) -> str:
    parts = urlsplit(url)
    if (
        not url.isascii()
        or not url.isprintable()
        or " " in url
        or not parts.scheme
        or (parts.scheme in ("http", "https") and not parts.netloc)
        or parts.query
    ):
        raise ConfigurationError(f"{what} must be an absolute URL without a query, not {url!r}")
    return url
