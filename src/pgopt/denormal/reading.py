"""What the server makes of the expressions that a migration says: types, names in full, and what they read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgopt.copy.shape import QUALIFIED
from pgopt.errors import InvalidOperation
from pgopt.server.probe import probe
from pgopt.server.queries import query
from pgopt.server.quoting import literal, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

PACKAGE = __package__
_STRINGS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_FICKLE = re.compile(
    r"\b(now|random\w*|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|nextval|currval|lastval"
    r"|setval|gen_random_uuid|uuidv[47]|current_setting|pg_\w+)\s*\("
    r"|\b(current_(?:date|time|timestamp|user|role|schema)|localtime(?:stamp)?|session_user|user)\b",
    re.IGNORECASE,
)
_UNORDERED = re.compile(r"\b(array_agg|string_agg|jsonb?_agg\w*|jsonb?_object_agg\w*|xmlagg)\s*\(", re.IGNORECASE)
_FLOATS = re.compile(r"\b(sum|avg|stddev\w*|var\w*|regr_\w+|covar_\w+|corr)\s*\(", re.IGNORECASE)
_MERGED = re.compile(r"(count|sum|min|max)\s*\(\s*(?!distinct\b)", re.IGNORECASE)
_FILTER = re.compile(r"\s*filter\s*\(", re.IGNORECASE)


@dataclass(frozen=True)
class Read:
    """An expression as the server understands it."""

    text: str
    type: str
    bare_type: str
    full_type: str
    """With its schema, and without what follows it."""
    plain: bool
    """Whether its type is the server's own, or an enum."""
    comparable: bool
    inputs: Sequence[str]
    others: Sequence[str]
    """Relations and volatile functions that it uses beside the source."""
    empty: str | None = None
    """What an aggregate is of no rows, as text."""

    @property
    def merge(self) -> str | None:
        """How a change can be added to a value of it, if it can."""
        found = _MERGED.match(self.text)
        if found is None or not self.plain or not _is_one_call(self.text):
            return None
        name = found[1].lower()
        if name == "sum":
            return "sum" if self.bare_type in ("bigint", "numeric") else None
        return name if self.comparable else None


def read(db: Catalog, source: Relation, name: str, expression: str, *, aggregate: bool) -> Read:
    """Let the server read an expression over a table, as a view that is rolled back, or refuse it."""
    alone = "count(*)" if aggregate else "r.tableoid"
    with probe(db.session):
        db.session.run(
            sql(
                "create temp view pgopt_probe_it as select ({}\n) as pgopt_it, {} as pgopt_alone from {} r",
                verbatim(expression),
                verbatim(alone),
                source.ident,
            ),
            QUALIFIED,
        )
        definition, *rest = db.session.row(query("probe", PACKAGE, source=literal(source.oid)))
    text = definition[definition.index("SELECT ") + 7 : definition.rindex(" AS pgopt_it,")].strip()
    found = Read(text, *rest)
    _refuse(found, f"column {name!r} is kept as {text}, which", source)
    return replace(found, empty=_of_nothing(db, source, text)) if aggregate else found


def _of_nothing(db: Catalog, source: Relation, text: str) -> str | None:
    """Give what an aggregate is of no rows."""
    nothing = sql(
        "create temp view pgopt_probe_it as select ({})::text as pgopt_it from {} r where false",
        verbatim(text),
        source.ident,
    )
    with db.session.rolled_back():
        db.session.run(QUALIFIED, nothing)
        found: str | None = db.session.value(sql("select pgopt_it from pg_temp.pgopt_probe_it"))
        return found


def _refuse(found: Read, what: str, source: Relation) -> None:
    bare = _STRINGS.sub("''", found.text)
    if fickle := _FICKLE.search(bare):
        raise InvalidOperation(f"{what} changes by itself ({fickle[0].rstrip('(').strip()}): no trigger notices that")
    if found.others:
        raise InvalidOperation(f"{what} uses {', '.join(found.others)}: it may read rows of {source} only")
    if _UNORDERED.search(bare) and "order by" not in bare.lower():
        raise InvalidOperation(f"{what} has no defined order: write ORDER BY inside the aggregate")
    if found.bare_type in ("double precision", "real") and _FLOATS.search(bare):
        raise InvalidOperation(f"{what} depends on the order of the rows: cast the values to numeric in it")


def _is_one_call(text: str) -> bool:
    """Whether an expression is a call of one function, with or without FILTER."""
    rest = _after(text[text.index("(") :])
    if (clause := _FILTER.match(rest)) is not None:
        rest = _after(rest[clause.end() - 1 :])
    return not rest.strip()


def _after(text: str) -> str:
    """Give what follows the parenthesis that a text begins with."""
    bare = _STRINGS.sub(lambda found: "'" * len(found[0]), text)
    depth = 0
    for place, char in enumerate(bare):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth == 0:
            return text[place + 1 :]
    return text
