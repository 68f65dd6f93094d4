from offpath.testing.stores.owners import *  # noqa: F403
