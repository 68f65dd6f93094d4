from offpath.testing.stores.machine import *  # noqa: F403
