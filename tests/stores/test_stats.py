from offpath.testing.stores.stats import *  # noqa: F403
