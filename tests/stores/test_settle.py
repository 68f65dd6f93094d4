from offpath.testing.stores.settle import *  # noqa: F403
