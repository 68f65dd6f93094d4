from offpath.testing.stores.inbox import *  # noqa: F403
