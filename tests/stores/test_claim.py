from offpath.testing.stores.claim import *  # noqa: F403
