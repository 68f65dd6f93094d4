"""What an application says of its flows. A part of `Offpath`."""

from __future__ import annotations

from ..core.ids import is_id
from ..errors import NotFound
from ..ports import Pending
from ..ports.flows import FlowRows
from ..tasks import FlowInfo, Ready, flow_info
from .desk import Counter


class Flows:
    """See `facade.Offpath`."""

    _desk: Counter

    async def flow(self, id: str) -> FlowInfo:
        """The graph of a flow, with the state of each part. NotFound for what is none, or has been forgotten."""
        return _found(id, await self._flow_rows(id))

    def flow_sync(self, id: str) -> FlowInfo:
        """The same, blocking."""
        return _found(id, self._flow_rows(id).result())

    def _flow_rows(self, id: str) -> Pending[FlowRows | None]:
        store = self._desk.store
        return store.read(store.verbs.flow(id)) if is_id(id) else Ready(None)


def _found(id: str, rows: FlowRows | None) -> FlowInfo:
    if rows is None:
        raise NotFound(f"no flow {id}")
    return flow_info(id, rows)
