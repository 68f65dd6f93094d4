"""One more worker process for the application: `python3 dev.py worker --database URL [--until-empty]`.

The same as `offpath --app examples.accounts.app:jobs worker`, with the database as a flag.
"""

import argparse
import logging
import sys

from offpath.cli import main as offpath

from .processes import add_options, obey
from .settings import SettingsError, settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py worker", description="One more worker process for the example.")
    parser.add_argument("--until-empty", action="store_true", help="end when no job is ready or running")
    add_options(parser)
    options = parser.parse_args()
    obey(parser, options)

    try:
        settings()
    except SettingsError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    for name in ("offpath.worker", "accounts"):
        logging.getLogger(name).setLevel(logging.INFO)
    more = ["--until-empty"] if options.until_empty else []
    return offpath(["--app", "examples.accounts.app:jobs", "worker", *more])


if __name__ == "__main__":
    sys.exit(main())
