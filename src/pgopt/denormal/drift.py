"""Whether kept columns are what they should be: rows that have drifted, and some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgopt.denormal.definition import PREFIX
from pgopt.errors import InvalidOperation
from pgopt.server.quoting import ident, joined, literal, sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgopt.denormal.definition import Definition
    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

SHOWN = 5


@dataclass(frozen=True)
class Drift:
    """How many rows have drifted, and some of them: the key, what is, and what should be."""

    target: str
    source: str
    columns: Sequence[str]
    rows: int
    examples: Sequence[Mapping[str, Any]]
    unwatched: Sequence[str] = ()
    """Partitions without triggers: what is written to them and not to the whole table is not seen."""
    waiting: int = 0
    """How many changes wait to be folded in; rows that they are about have not drifted."""

    @property
    def wrong(self) -> bool:
        """Whether there is anything to repair."""
        return bool(self.rows or self.unwatched)

    @property
    def sentence(self) -> str:
        """The whole in one sentence."""
        noun = "row" if self.rows == 1 else "rows"
        names = ", ".join(self.columns)
        if self.unwatched and not self.rows:
            return (
                f"{names} of {self.target} miss what is written directly to {', '.join(self.unwatched)}:"
                " there are none of pgopt's triggers"
            )
        if not self.rows:
            return f"{names} of {self.target} are what {self.source} says{self._but}"
        shown = "; ".join(
            f"{_pairs(each['key'])} has {_pairs(each['is'])}, and should have {_pairs(each['should'])}"
            for each in self.examples
        )
        return f"{self.rows} {noun} of {self.target} differ in {names} from what {self.source} says: {shown}"

    @property
    def _but(self) -> str:
        if not self.waiting:
            return ""
        return f", but for {self.waiting} {'change that waits' if self.waiting == 1 else 'changes that wait'} to be folded in"


def look(db: Catalog, of: Definition) -> Drift:
    """Compare all rows of one moment; ACCESS SHARE on both tables."""
    for each in (of.target, of.source):
        if db.session.value(sql("select row_security_active({}::oid)", literal(each.oid))):
            raise InvalidOperation(
                f"{each} has row-level security for this role, which would hide rows: compare as a role with BYPASSRLS, or as the owner and"
                " without FORCE ROW LEVEL SECURITY"
            )
    count = db.session.value(sql("select count(*) from {} where drifted", of.view))
    examples = db.session.rows(sql("select {} from {} where drifted limit {}", _columns(of), of.view, literal(SHOWN)))
    keys, width = len(of.order), len(of.columns)
    return Drift(
        str(of.target),
        str(of.source),
        of.names,
        int(count),
        [
            {
                "key": dict(zip(of.order, row[:keys], strict=True)),
                "is": dict(zip(of.names, row[keys : keys + width], strict=True)),
                "should": dict(zip(of.names, row[keys + width :], strict=True)),
            }
            for row in examples
        ],
        list(map(str, unwatched(db, of))),
        0 if of.deferred is None else int(db.session.value(sql("select count(*) from {}", of.queue))),
    )


def unwatched(db: Catalog, of: Definition) -> list[Relation]:
    """Give the partitions of the source that have no triggers, since neither pgopt nor the operation has made them."""
    parts = db.partitions(of.source)
    if not parts:
        return []
    there = db.session.rows(
        sql(
            "select tgrelid::int8 from pg_trigger where tgname = {} and tgrelid = any({}::oid[])",
            literal(f"{PREFIX}_{of.tag}_insert"),
            literal([part.oid for part in parts]),
        )
    )
    return [part for part in parts if (part.oid,) not in set(there)]


def _columns(of: Definition) -> Any:
    names = [f"key{n}" for n, _ in enumerate(of.order, 1)]
    names += [f"{what}{n}" for what in ("is", "should") for n, _ in enumerate(of.columns, 1)]
    return joined(sql("{}::text", ident(name)) for name in names)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {'NULL' if value is None else value}" for name, value in values.items())
