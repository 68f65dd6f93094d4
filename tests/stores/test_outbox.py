from offpath.testing.stores.outbox import *  # noqa: F403
