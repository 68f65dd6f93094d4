from offpath.testing.stores.cancel import *  # noqa: F403
