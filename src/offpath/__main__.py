"""`python -m offpath` is the command `offpath`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
