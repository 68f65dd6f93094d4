from offpath.testing.stores.flowmachine import *  # noqa: F403
