from offpath.testing.stores.upkeep import *  # noqa: F403
