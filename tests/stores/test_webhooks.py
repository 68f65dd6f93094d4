from offpath.testing.stores.webhooks import *  # noqa: F403
