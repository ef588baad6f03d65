"""What a materialized view is made of: its query as the server understands it, what it reads, and what rests on it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.copy.followers import seen_by_owner
from pgopt.copy.shape import QUALIFIED
from pgopt.copy.views_beside import bare
from pgopt.errors import InvalidOperation
from pgopt.server.objects import KINDS
from pgopt.server.probe import probe
from pgopt.server.queries import query
from pgopt.server.quoting import literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Column, Relation

PACKAGE = __package__
PROBE = "pg_temp.pgopt_probe"


@dataclass(frozen=True)
class Wanted:
    """A query as the server understands it."""

    definition: str
    columns: Sequence[Column]
    unseen: Sequence[str] = ()
    """Why nobody can know for certain that it has nothing to do."""
    hidden: Sequence[str] = ()
    """Why the owner of the view that is to have it would be shown what policies hide."""


def understood(
    db: Catalog, text: str, depends_on: Composable | None = None, *, replaced: Relation | None = None
) -> Wanted:
    """Let the server read a query, as a view that is rolled back; with the tables it is said to depend on, ask about them."""
    with _probe(db, text):
        db.session.value(QUALIFIED)
        probe = sql("{}::regclass", literal(PROBE))
        asked = sql("select pgopt.unseen_changes({}, {})", probe, depends_on) if depends_on else None
        reasons = db.session.rows(asked) if asked else []
        reader = db.by_oid(db.session.value(sql("select {}::oid::int8", probe)))
        return Wanted(
            db.session.value(sql("select pg_get_viewdef({})", probe)),
            db.columns(reader),
            [reason for (reason,) in reasons],
            list(seen_by_owner(db, replaced, reader)) if replaced is not None else (),
        )


def find(db: Catalog, name: str, schema: str | None) -> Relation | None:
    """Look a materialized view up."""
    found = db.relation(name, schema)
    if found is not None and found.kind != "m" and db.online:
        raise InvalidOperation(f"{found} is a {KINDS.get(found.kind, found.kind)}, not a materialized view")
    return found


def get(db: Catalog, name: str, schema: str | None) -> Relation:
    """Look up a materialized view that must be there."""
    found = find(db, name, schema)
    if found is None:
        where = f"in schema {schema!r}" if schema else "on the search path (schema= names another place)"
        raise InvalidOperation(f"there is no materialized view {name!r} {where}")
    return found


def resting_on(db: Catalog, view: Relation) -> list[str]:
    """Describe what reads a view."""
    return [said for (said,) in db.session.rows(query("resting_on_view", PACKAGE, view=literal(view.oid)))]


def others(text: str, there: str, wanted: str) -> InvalidOperation:
    """Say that two queries differ."""
    return InvalidOperation(f"{text}:\n  there is  {_one_line(there)}\n  wanted is {_one_line(wanted)}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def _probe(db: Catalog, text: str) -> Iterator[None]:
    with probe(db.session):
        db.session.run(_create_probe(text))
        yield


def _create_probe(text: str) -> Composable:
    return sql("create temp view pgopt_probe as {}", verbatim(bare(text)))
