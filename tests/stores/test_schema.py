from offpath.testing.stores.schema import *  # noqa: F403
