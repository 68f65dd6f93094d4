"""The command `offpath`. `parser.py` is the list of what there is; each command has a file of its own.

Flags beat `OFFPATH_*` variables, which beat the defaults. Exit 0: done; 1: it could not be done (no such job, the wrong
state); 2: it was asked wrongly, or the database cannot be used. Errors are one sentence on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import ConfigurationError, OffpathError, StoreError
from . import parser

__all__ = ["main"]

DONE, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code. (argparse itself ends the process with 2 for flags it does not know.)"""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.build().parse_args(arguments)
    options.arguments = arguments
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except (ConfigurationError, StoreError) as error:
        return _say(error, USAGE)
    except OffpathError as error:
        return _say(error, FAILED)
    except BrokenPipeError:  # `offpath jobs list | head`: whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130


def _say(error: Exception, code: int) -> int:
    print(f"offpath: {' '.join(str(error).split())}", file=sys.stderr)
    return code
