from offpath.testing.stores.keys import *  # noqa: F403
