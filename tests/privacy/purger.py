"""An erasure that is to be killed: `python -m tests.privacy.purger DATABASE OWNER`. It stops for good within its third
page, when that has erased and before it commits, and says so."""

import sys
import threading
from collections.abc import Sequence

from offpath import Offpath
from offpath.app import owners
from offpath.ports import Verb
from offpath.stores.owners import OwnerVerbs

if __name__ == "__main__":
    owners.PAGE, pages = 2, 0
    real = OwnerVerbs._erase_all

    def erase(self: OwnerVerbs, ids: Sequence[str]) -> Verb[dict[str, int]]:
        global pages
        gone = yield from real(self, ids)
        pages += bool(ids)
        if pages == 3:
            print("in the middle", flush=True)
            threading.Event().wait()
        return gone

    OwnerVerbs._erase_all = erase  # type: ignore[method-assign]
    Offpath(sys.argv[1]).purge_owner_sync(sys.argv[2])
