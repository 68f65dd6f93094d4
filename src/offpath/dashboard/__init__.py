"""The dashboard: pages over the admin API, for whoever has to find the stuck job at three in the morning.

    operations = Operations(jobs, caller=current_user, admin=Admin())
    app.mount("/dashboard", operations.dashboard)

It is a client of the rows of `offpath.admin`, called in this process, and touches no store. `asgi.py` is the way of a
request, `gate.py` and `session.py` are who may come in, `pages.py` shows, `actions.py` changes, `api.py` asks;
`charts.py` and `graph.py` draw.
"""

from importlib.util import find_spec

from ..errors import MissingExtraError

if find_spec("jinja2") is None:
    raise MissingExtraError("offpath.dashboard", "dashboard")

from .asgi import Dashboard
from .gate import Unknown

__all__ = ["Dashboard", "Unknown"]
