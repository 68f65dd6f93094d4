from offpath.testing.stores.enqueue import *  # noqa: F403
