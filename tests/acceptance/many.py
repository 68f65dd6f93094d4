"""A process that does something to many jobs and is killed: `python -m tests.acceptance.many URL cancel|retry|delete`.

It prints a line after each page, and is told nothing."""

import sys

from offpath import Offpath
from offpath.app.bulk import Tally

PAGE = 3


def main() -> None:
    url, doing = sys.argv[1:]
    jobs = Offpath(url)

    def told(tally: Tally) -> None:
        print(tally.done, flush=True)

    calls = {
        "cancel": lambda: jobs.cancel_many(queue="many", progress=told),
        "retry": lambda: jobs.retry_many(queue="many", progress=told),
        "delete": lambda: jobs.delete_many(queue="many", progress=told),
    }
    sweep = calls[doing]()
    sweep._page = PAGE
    sweep.run()


if __name__ == "__main__":
    main()
