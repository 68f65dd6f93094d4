from offpath.testing.stores.lease import *  # noqa: F403
