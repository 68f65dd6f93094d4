from offpath.testing.stores.doctor import *  # noqa: F403
