from offpath.testing.stores.schedules import *  # noqa: F403
