"""`offpath dashboard`: the pages alone, without the application's web process."""

from __future__ import annotations

import argparse

from .target import actor, opened


def run(options: argparse.Namespace) -> int:
    """Until it is told to stop."""
    from ..dashboard import alone  # not everybody has the extra

    alone.check(options.host, options.token)
    with opened(options) as jobs:
        alone.serve(
            jobs, options.host, options.port, token=options.token, writable=options.writable, actor=actor("dashboard")
        )
    return 0
