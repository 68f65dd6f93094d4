from offpath.testing.stores.queues import *  # noqa: F403
