from offpath.testing.stores.remembered import *  # noqa: F403
