"""`offpath asyncapi`: the AsyncAPI 3 document of an application. Opens neither a database nor a broker."""

from __future__ import annotations

import argparse
import json

from .target import application


def run(options: argparse.Namespace) -> int:
    """Print the document."""
    document = application(options).asyncapi(title=options.title, version=options.api_version)
    print(json.dumps(document, ensure_ascii=False, indent=None if options.json else 2))
    return 0
