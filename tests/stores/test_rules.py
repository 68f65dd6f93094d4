from offpath.testing.stores.rules import *  # noqa: F403
