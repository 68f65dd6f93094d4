from offpath.testing.stores.guards import *  # noqa: F403
