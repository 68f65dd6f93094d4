"""`offpath metrics`: the files that are shipped ready."""

from __future__ import annotations

import argparse

from ..metrics import files


def run(options: argparse.Namespace) -> int:
    """Print one of them; it needs no application."""
    print(files.grafana() if options.what == "grafana" else files.rules(), end="")
    return 0
