from offpath.testing.stores.operations import *  # noqa: F403
