"""Fill the tables of one system: `python -m tools.data saas --rows 100000`."""

from __future__ import annotations

import argparse
import os
import sys

import psycopg
from sqlalchemy.engine import make_url

from tools.data import SYSTEMS, fill


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", default=os.environ.get("DATABASE_URL"))
    options = parser.parse_args()
    if not options.url:
        parser.error("which database? say --url postgresql://…, or set DATABASE_URL")
    address = make_url(options.url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        fill(connection, options.system, options.rows, seed=options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
