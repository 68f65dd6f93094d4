from offpath.testing.stores.turns import *  # noqa: F403
