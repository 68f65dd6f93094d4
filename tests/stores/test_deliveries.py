from offpath.testing.stores.deliveries import *  # noqa: F403
