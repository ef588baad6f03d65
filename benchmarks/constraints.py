"""What others wait while a constraint is added: by pgopt, beside the plain ALTER TABLE.

`python benchmarks/constraints.py` prints a table; `--json FILE` writes the same with every single run.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import common
import harm

from pgopt.operations import (
    CreateCheckConstraintOnline,
    CreateForeignKeyOnline,
    CreatePrimaryKeyOnline,
    CreateUniqueConstraintOnline,
    SetNotNullOnline,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgopt.operations import Operation

# each as a migration says it by hand, and by pgopt
CONSTRAINTS: dict[str, tuple[str, Operation]] = {
    "CHECK": (
        "alter table orders add constraint ck check (customer >= 0)",
        CreateCheckConstraintOnline("ck", "orders", "customer >= 0"),
    ),
    "NOT NULL": ("alter table orders alter column note set not null", SetNotNullOnline("orders", "note")),
    "FOREIGN KEY": (
        "alter table orders add constraint fk foreign key (customer) references customers (id)",
        CreateForeignKeyOnline("fk", "orders", "customers", ["customer"], ["id"]),
    ),
    "UNIQUE": (
        "alter table orders add constraint uq unique (customer, id)",
        CreateUniqueConstraintOnline("uq", "orders", ["customer", "id"]),
    ),
    "PRIMARY KEY": (
        "alter table orders add constraint pk primary key (id)",
        CreatePrimaryKeyOnline("pk", "orders", ["id"]),
    ),
}
RESET = (
    *(f"alter table orders drop constraint if exists {name}" for name in ("ck", "fk", "uq", "pk")),
    "alter table orders alter column note drop not null",
)


def ways(idle: float, only: Sequence[str]) -> harm.Ways:
    """Give the ways to add each constraint."""
    found: harm.Ways = {"nothing": lambda _: harm.wait(idle)}
    for name in only:
        statement, operation = CONSTRAINTS[name]
        found[f"{name}, ALTER TABLE"] = lambda database, statement=statement: by_sql(database, statement)  # type: ignore[misc]
        found[f"{name}, pgopt"] = lambda database, operation=operation: harm.by_pgopt(database, operation)  # type: ignore[misc]
    return found


def by_sql(database: common.Database, statement: str) -> bool:
    """Add a constraint by hand."""
    database.run(statement)
    return True


def fill(database: common.Database, rows: int) -> None:
    """Make the table that all work on; its writers find their rows by an index that is no constraint."""
    harm.fill(database, rows)
    database.run(
        "alter table orders drop constraint orders_pkey",
        "create index on orders (id)",
        "create table customers (id bigint primary key)",
        f"insert into customers select generate_series(0, {max(rows, 10_000)})",
        "vacuum analyze customers",
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle", type=float, default=5.0, help="seconds of the measurement without any work")
    parser.add_argument("--only", nargs="+", choices=CONSTRAINTS, default=list(CONSTRAINTS), help="these constraints")
    common.add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    said = arguments()
    with common.server() as server, server.database() as database:
        common.progress("filling the tables")
        fill(database, said.rows)
        found = harm.measure(database, said.rows, ways(said.idle, said.only), said.runs, reset=RESET)
        settings = server.settings()
    harm.print_harm(f"Constraints on {said.rows:,} rows (medians of {said.runs} runs)", found)
    surroundings = common.surroundings(settings)
    print()
    common.print_surroundings(surroundings)
    common.write_json(said.json, {"rows": said.rows, "constraints": found, "surroundings": surroundings})


if __name__ == "__main__":
    main()
