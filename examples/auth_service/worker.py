"""One more worker process for the service: `python -m examples.auth_service.worker --database URL [--until-empty]`.

The same as `offpath --app examples.auth_service.app:jobs worker`, with the database as a flag.
"""

import sys

from ..accounts.processes import run_worker

if __name__ == "__main__":
    sys.exit(run_worker("python -m examples.auth_service.worker", "AUTH_DATABASE", "examples.auth_service.app:jobs"))
