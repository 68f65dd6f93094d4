"""One more worker process for the application: `python3 dev.py worker --database URL [--until-empty]`.

The same as `offpath --app examples.accounts.app:jobs worker`, with the database as a flag. With `--user-updates` it
works for `user_updates.py` instead.
"""

import sys

from .processes import run_worker

APP = "examples.accounts.app:jobs"
UPDATES = "examples.accounts.user_updates:jobs"

if __name__ == "__main__":
    sys.exit(run_worker("dev.py worker", "ACCOUNTS_DATABASE", APP, user_updates=UPDATES))
