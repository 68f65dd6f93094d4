from offpath.testing.stores.recent import *  # noqa: F403
