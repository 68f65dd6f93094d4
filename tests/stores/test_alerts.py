from offpath.testing.stores.alerts import *  # noqa: F403
