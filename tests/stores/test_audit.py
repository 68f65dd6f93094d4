from offpath.testing.stores.audit import *  # noqa: F403
