from offpath.testing.stores.bulk import *  # noqa: F403
