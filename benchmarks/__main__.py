"""`python3 dev.py bench NAME [--json] [--quick] [--rounds N] [--only WORD]`: sqlite, postgres, schedules, limits,
flows, outbox, brokers, admin or scale."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable

from . import flows, sqlite
from .measure import Row, table
from .measure import as_json as dumped


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    names = ["sqlite", "postgres", "schedules", "limits", "flows", "outbox", "brokers", "admin", "scale"]
    parser.add_argument("name", choices=names)
    parser.add_argument("--json", action="store_true", help="the whole result as JSON on standard output")
    parser.add_argument("--quick", action="store_true", help="a short run that tries the harness; no figures to quote")
    parser.add_argument("--rounds", type=int, help="how many alternating rounds (default 5)")
    parser.add_argument("--only", default="", help="only rows whose function has this name (drain, pickup, accept, …)")
    args = parser.parse_args()
    if args.name == "postgres":
        return on_postgres(args)
    if args.name == "schedules":
        from . import schedules

        count = 500 if args.quick else schedules.COUNT
        report("both stores", schedules.rows(count, args.rounds or 3), as_json=args.json)
        return 0
    if args.name == "admin":
        from . import admin, million

        count = 10_000 if args.quick else million.COUNT
        report("both stores", admin.rows(count, args.rounds or 1, args.only), as_json=args.json)
        return 0
    if args.name == "limits":
        return on_both(args)
    if args.name == "brokers":
        return over_brokers(args)
    if args.name == "scale":
        from . import scale

        wanted = scale.QUICK if args.quick else scale.Plan()
        wanted = wanted._replace(rounds=args.rounds) if args.rounds else wanted
        with scale.opened(max(wanted.workers)) as fleet:
            report("PostgreSQL; every worker on a host of its own", fleet.rows(wanted, args.only), as_json=args.json)
        return 0
    if args.name == "flows":
        rounds, n = (1, 100) if args.quick else (args.rounds or 5, 1_000)
        about = f"SQLite {sqlite3.sqlite_version} and PostgreSQL; parts per second, enqueue included"
        report(about, flows.rows(rounds, n, args.only), as_json=args.json)
        return 0
    if args.name == "outbox":
        return on_redis(args)
    plan = sqlite.QUICK if args.quick else sqlite.Plan()
    if args.rounds:
        plan = plan._replace(rounds=args.rounds)
    report(f"SQLite {sqlite3.sqlite_version}", sqlite.rows(plan, args.only), as_json=args.json)
    return 0


def on_postgres(args: argparse.Namespace) -> int:
    from . import postgres, targets  # they need drivers that the other does without

    plan = postgres.QUICK if args.quick else postgres.Plan()
    if args.rounds:
        plan = plan._replace(rounds=args.rounds)
    with postgres.opened() as bench:
        done = report(bench.about, bench.rows(plan, args.only), as_json=args.json)
    if not args.json:
        print("\n" + targets.verdicts(done) + ("\n\n(--quick: these figures mean nothing)" if args.quick else ""))
    return 0


def on_both(args: argparse.Namespace) -> int:
    from . import limits

    plan = limits.QUICK if args.quick else limits.Plan()
    if args.rounds:
        plan = plan._replace(rounds=args.rounds)
    report(f"SQLite {sqlite3.sqlite_version} and PostgreSQL", limits.rows(plan, args.only), as_json=args.json)
    return 0


def on_redis(args: argparse.Namespace) -> int:
    from . import outbox

    count = 500 if args.quick else outbox.COUNT
    about = f"SQLite {sqlite3.sqlite_version} and PostgreSQL, to Valkey; events per second"
    report(about, outbox.rows(count, args.rounds or 3, args.only), as_json=args.json)
    return 0


def over_brokers(args: argparse.Namespace) -> int:
    from . import brokers

    plan = brokers.QUICK if args.quick else brokers.Plan()
    if args.rounds:
        plan = plan._replace(rounds=args.rounds)
    with brokers.opened() as urls:
        report(", ".join(urls), brokers.rows(plan, urls, args.only), as_json=args.json)
    return 0


def report(about: str, rows: Iterable[Row], *, as_json: bool) -> list[Row]:
    out = sys.stderr if as_json else sys.stdout
    print(f"{machine()}, {about}", file=out, flush=True)
    done: list[Row] = []
    for row in rows:
        print("·", row.name, {side: round(row.median(side), 1) for side in row.samples}, file=out, flush=True)
        done.append(row)
    print(dumped(done) if as_json else "\n" + table(done))
    return done


def machine() -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{today}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
