from offpath.testing.stores.races import *  # noqa: F403
