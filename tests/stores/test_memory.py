from offpath.testing.stores.memory import *  # noqa: F403
