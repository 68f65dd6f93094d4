from offpath.testing.stores.attempts import *  # noqa: F403
