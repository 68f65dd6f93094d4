from offpath.testing.stores.flows import *  # noqa: F403
