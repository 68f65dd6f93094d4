"""Does my store keep its promises? A suite of tests for anything that implements `offpath.ports.Store`.

Every verb and every column, in the order in which a job lives: enqueue, claim, settle, cancel, lease and expire,
upkeep, operations; races between them; and a machine that drives the store and a plain model side by side through
everything that can happen to a job. offpath's own stores are held to the same files. It takes pytest and hypothesis.

    # test_my_store.py
    from contextlib import contextmanager
    from functools import partial
    from tempfile import TemporaryDirectory

    import pytest
    from offpath.testing.stores.suite import *  # the tests, and the fixtures they use

    from my_store import MyStore


    @pytest.fixture
    def databases():
        @contextmanager
        def empty():
            with TemporaryDirectory() as folder:
                yield partial(MyStore, f"{folder}/jobs")  # called with announce= and perhaps retention=

        return empty

`databases` is the one fixture you give (`fixtures.py` has the others, for tests of your own): called once or often in a
test, it must lead to an empty database each time, on which several store objects can be made, as several processes
would. Let it be quick: the suite asks for some two hundred.

One part alone: `from offpath.testing.stores.claim import *`, with `from offpath.testing.stores.fixtures import *`.
Fewer histories than a hundred for the machine: a fixture `examples` that returns their number.

What a store does in the caller's transaction (`enqueue_on`, `run_on`) depends on the drivers it lends itself to and is
not asked here. Nor is anything that needs a second process, a killed one or a full disk.
"""
