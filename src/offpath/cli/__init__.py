"""The command `offpath`. `parser.py` is the list of what there is; each command has a file of its own.

Flags beat `OFFPATH_*` variables, which beat the defaults. Exit 0: done; 1: it could not be done (no such job, the wrong
state); 2: it was asked wrongly, or the database cannot be used; 130: interrupted (Ctrl-C). Errors are one sentence on
stderr. What is changed is recorded as done by `cli:USER@HOST` (see `app/acting.py`).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from ..errors import ConfigurationError, OffpathError, StoreError
from . import parser, printing

__all__ = ["main"]

DONE, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code. (argparse itself ends the process with 2 for flags it does not know.)"""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # what a terminal cannot show is escaped, never an error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options, unknown = parser.build().parse_known_args(arguments)
    if unknown:  # by the command's own usage: argparse would show that of `offpath`
        options.command.error(f"unrecognized arguments: {' '.join(map(printing.line, unknown))}")
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
        printing.mute()
        return DONE
    except KeyboardInterrupt:
        return 130


def _say(error: Exception, code: int) -> int:
    printing.say(str(error))
    return code
