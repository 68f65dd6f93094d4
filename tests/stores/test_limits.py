from offpath.testing.stores.limits import *  # noqa: F403
