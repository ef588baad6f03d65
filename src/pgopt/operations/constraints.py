"""Constraints on live tables: added for new rows at once, checked for old ones while the table is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pgopt.errors import InvalidOperation, NotReversible
from pgopt.operations import constraint_steps as steps
from pgopt.operations import index_steps
from pgopt.operations.base import StateOperation, operation
from pgopt.operations.indexes import CreateIndexConcurrently
from pgopt.plan.step import Step
from pgopt.server.locks import Lock, Mode
from pgopt.server.quoting import NAME_BYTES, check_name, ident, joined, literal, name_of, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog, Column, Relation

ConstraintT = TypeVar("ConstraintT", bound=StateOperation)


def _other(kind: type[ConstraintT], of: StateOperation, **changes: Any) -> ConstraintT:
    """Make the inverse, which takes the same arguments."""
    names = {each.name for each in fields(kind)}
    return kind(**{each.name: getattr(of, each.name) for each in fields(of) if each.name in names} | changes)


# -- CHECK ---------------------------------------------------------------------------------------------------------------


@operation("create_check_constraint_online")
class CreateCheckConstraintOnline(StateOperation):
    """Add a CHECK while the table is in use.

    It holds for new rows at once (ACCESS EXCLUSIVE for an instant), then the rows that are there are checked under SHARE
    UPDATE EXCLUSIVE, which nobody but other DDL waits for. Where some violate it, the error says how many and shows some
    by key, and the constraint is gone again, or kept for new rows with ``on_violation="keep"``; mend them and run again::

        op.create_check_constraint_online("ck_proposals_value", "proposals", "value >= 0")
    """

    name: str
    table: str
    condition: Any
    _: KW_ONLY
    on_violation: Literal["drop", "keep"] = "drop"
    schema: str | None = None

    def check(self) -> None:
        check_name(self.name, f"a constraint of {self.table}")
        if self.on_violation not in ("drop", "keep"):
            raise InvalidOperation(f"on_violation={self.on_violation!r} of {self.name}: say 'drop' or 'keep'")

    def reverse(self) -> DropCheckConstraintOnline:
        return _other(DropCheckConstraintOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        _same_or_refuse(db, self.name, table, _check(self.condition))
        tables = steps.tree(db, table)
        yield steps.add(self.name, _check(self.condition), tables, steps.on_all(Mode.ACCESS_EXCLUSIVE, tables))
        violated = sql("not ({})", verbatim(self.condition))
        yield steps.validate(
            self.name,
            tables,
            partial(steps.violating_rows, table=table, condition=violated),
            give_up=[steps.drop(self.name, tables)] if self.on_violation == "drop" else [],
        )


@operation("drop_check_constraint_online")
class DropCheckConstraintOnline(StateOperation):
    """Drop a CHECK; ACCESS EXCLUSIVE for an instant. With the condition it can be undone::

    op.drop_check_constraint_online("ck_proposals_value", "proposals", "value >= 0")
    """

    name: str
    table: str
    condition: Any = None
    _: KW_ONLY
    schema: str | None = None

    def reverse(self) -> CreateCheckConstraintOnline:
        if self.condition is None:
            raise NotReversible(f"{self.title}: say the condition, so that it can be made again")
        return _other(CreateCheckConstraintOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if self.condition is not None:
            _same_or_refuse(db, self.name, table, _check(self.condition))
        yield steps.drop(self.name, steps.tree(db, table))


def _same_or_refuse(db: Catalog, name: str, table: Relation, wanted: Composable) -> None:
    """Take an equal constraint for the operation's own, and refuse another one of that name."""
    there = db.constraint(table, name)
    if there is not None:
        steps.refuse_other(name, table, there, db.constraint_definition(table, wanted))


def _check(condition: str) -> Composable:
    return sql("check ({})", verbatim(condition))


# -- UNIQUE and PRIMARY KEY ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class KeyOperation(StateOperation):
    """A unique constraint or primary key by its name, table and columns."""

    name: str
    table: str
    columns: Sequence[str] = ()
    _: KW_ONLY
    include: Sequence[str] = ()
    deferrable: bool = False
    initially_deferred: bool = False
    schema: str | None = None

    def check(self) -> None:
        check_name(self.name, f"a constraint of {self.table}")
        if isinstance(self.columns, str):
            raise InvalidOperation(f"columns={self.columns!r} of {self.name} is one text: write a list of columns")
        if self.initially_deferred and not self.deferrable:
            raise InvalidOperation(f"{self.name} is initially_deferred, and so must be deferrable")

    def definition(self, words: Composable) -> Composable:
        """Write the constraint with its columns."""
        include = sql(" include ({})", joined(map(ident, self.include))) if self.include else verbatim("")
        return sql("{} ({}){}{}", words, joined(map(ident, self.columns)), include, self.timing())

    def timing(self) -> Composable:
        """Say when it is checked."""
        later = " deferrable initially deferred" if self.initially_deferred else " deferrable"
        return verbatim(later if self.deferrable else "")

    def build(self, table: Relation) -> Step:
        """Build the index concurrently, under the constraint's name."""
        if table.partitioned:
            raise InvalidOperation(f"{table} is partitioned: create a unique index with its partition key instead")
        unique = CreateIndexConcurrently(
            self.name,
            self.table,
            self.columns,
            unique=True,
            include=self.include,
            schema=self.schema,
            **self.index_options(),
        )
        step = _unless(index_steps.build(unique, self.name, table), partial(steps.has, name=self.name, table=table))
        return replace(step, explain=partial(steps.duplicates, table=table, columns=self.columns))

    def index_options(self) -> dict[str, Any]:
        """Give what else the index says."""
        return {}

    def use(self, words: Composable, table: Relation) -> Step:
        """Make the index the constraint's."""
        return Step(
            f"make the index {self.name} the constraint's",
            sql(
                "alter table {} add constraint {} {} using index {}{}",
                table.ident,
                ident(self.name),
                words,
                ident(self.name),
                self.timing(),
            ),
            locks=[Lock(Mode.ACCESS_EXCLUSIVE, table.name, table.schema)],
            done=partial(steps.has, name=self.name, table=table),
        )


UNIQUE = "unique"
PRIMARY_KEY = "primary key"


@operation("create_unique_constraint_online")
class CreateUniqueConstraintOnline(KeyOperation):
    """Add a unique constraint while the table is in use.

    The index is built concurrently, then made the constraint's (ACCESS EXCLUSIVE for an instant). Where keys are there more
    than once, the error says how many and shows some, and nothing is left behind::

        op.create_unique_constraint_online("uq_articles_slug", "articles", ["slug"])
    """

    columns: Sequence[str] = field()
    nulls_not_distinct: bool = field(default=False, kw_only=True)

    def reverse(self) -> DropUniqueConstraintOnline:
        return _other(DropUniqueConstraintOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        _same_or_refuse(db, self.name, table, self.definition(_unique(self)))
        yield self.build(table)
        yield self.use(verbatim(UNIQUE), table)

    def index_options(self) -> dict[str, Any]:
        return {"nulls_not_distinct": self.nulls_not_distinct}


@operation("drop_unique_constraint_online")
class DropUniqueConstraintOnline(KeyOperation):
    """Drop a unique constraint; ACCESS EXCLUSIVE for an instant. With the columns it can be undone::

    op.drop_unique_constraint_online("uq_articles_slug", "articles", ["slug"])
    """

    nulls_not_distinct: bool = field(default=False, kw_only=True)

    def reverse(self) -> CreateUniqueConstraintOnline:
        if not self.columns:
            raise NotReversible(f"{self.title}: say the columns, so that it can be made again")
        return _other(CreateUniqueConstraintOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if self.columns:
            _same_or_refuse(db, self.name, table, self.definition(_unique(self)))
        yield from _drop_key(self, db, table)


def _unique(of: CreateUniqueConstraintOnline | DropUniqueConstraintOnline) -> Composable:
    return verbatim(UNIQUE + (" nulls not distinct" if of.nulls_not_distinct else ""))


@operation("create_primary_key_online")
class CreatePrimaryKeyOnline(KeyOperation):
    """Add a primary key while the table is in use, as `create_unique_constraint_online`.

    Its columns must be NOT NULL already (`set_not_null_online`), so that dropping the key gives back what was there::

        op.create_primary_key_online("events_pkey", "events", ["id"])
    """

    columns: Sequence[str] = field()

    def reverse(self) -> DropPrimaryKeyOnline:
        return _other(DropPrimaryKeyOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        _same_or_refuse(db, self.name, table, self.definition(verbatim(PRIMARY_KEY)))
        if db.online:
            _refuse_nullable(db, table, self.columns)
        yield self.build(table)
        yield self.use(verbatim(PRIMARY_KEY), table)


@operation("drop_primary_key_online")
class DropPrimaryKeyOnline(KeyOperation):
    """Drop a primary key; ACCESS EXCLUSIVE for an instant. With the columns it can be undone::

    op.drop_primary_key_online("events_pkey", "events", ["id"])
    """

    def reverse(self) -> CreatePrimaryKeyOnline:
        if not self.columns:
            raise NotReversible(f"{self.title}: say the columns, so that it can be made again")
        return _other(CreatePrimaryKeyOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if self.columns:
            _same_or_refuse(db, self.name, table, self.definition(verbatim(PRIMARY_KEY)))
        yield from _drop_key(self, db, table)


def _refuse_nullable(db: Catalog, table: Relation, columns: Sequence[str]) -> None:
    there = {column.name: column for column in db.columns(table)}
    for name in columns:
        if name not in there:
            raise InvalidOperation(f"{table} has no column {name!r}: it has {', '.join(there)}")
        if not there[name].not_null:
            raise InvalidOperation(
                f"column {name!r} of {table} may be NULL: op.set_not_null_online({table.name!r}, {name!r}) first"
            )


def _drop_key(of: KeyOperation, db: Catalog, table: Relation) -> Iterator[Step]:
    """Drop a key with its index, or the index that an interrupted run has left."""
    if not steps.has(db, name=of.name, table=table) and db.index(of.name, table.schema) is not None:
        yield index_steps.drop(of.name, table)
    else:
        index = Lock(Mode.ACCESS_EXCLUSIVE, of.name, table.schema, is_index=True)
        yield steps.drop(of.name, [table], also=[index])


# -- FOREIGN KEY ---------------------------------------------------------------------------------------------------------

ACTIONS = {"NO ACTION": "a", "RESTRICT": "r", "CASCADE": "c", "SET NULL": "n", "SET DEFAULT": "d"}
MATCHES = {"SIMPLE": "s", "FULL": "f"}


@dataclass(frozen=True, repr=False)
class ForeignKeyOperation(StateOperation):
    """A foreign key."""

    name: str
    table: str
    referent: str | None = None
    columns: Sequence[str] = ()
    referent_columns: Sequence[str] = ()
    _: KW_ONLY
    ondelete: str = "NO ACTION"
    onupdate: str = "NO ACTION"
    match: str = "SIMPLE"
    deferrable: bool = False
    initially_deferred: bool = False
    schema: str | None = None
    referent_schema: str | None = None

    def check(self) -> None:
        check_name(self.name, f"a constraint of {self.table}")
        if len(self.columns) != len(self.referent_columns):
            raise InvalidOperation(
                f"{self.name} has {len(self.columns)} columns, and refers to {len(self.referent_columns)}"
            )
        for what, known in (("ondelete", ACTIONS), ("onupdate", ACTIONS), ("match", MATCHES)):
            if getattr(self, what).upper() not in known:
                raise InvalidOperation(f"{what}={getattr(self, what)!r} of {self.name}: say {', '.join(known)}")
        if self.initially_deferred and not self.deferrable:
            raise InvalidOperation(f"{self.name} is initially_deferred, and so must be deferrable")

    def definition(self, referent: Relation) -> Composable:
        """Write the constraint."""
        later = " deferrable initially deferred" if self.initially_deferred else " deferrable"
        return sql(
            "foreign key ({}) references {} ({}){} on update {} on delete {}{}",
            joined(map(ident, self.columns)),
            referent.ident,
            joined(map(ident, self.referent_columns)),
            verbatim(" match full" if self.match.upper() == "FULL" else ""),
            verbatim(self.onupdate.lower()),
            verbatim(self.ondelete.lower()),
            verbatim(later if self.deferrable else ""),
        )

    def same_or_refuse(self, db: Catalog, table: Relation, referent: Relation) -> None:
        """Take an equal foreign key for the operation's own, and refuse another one of that name."""
        there = db.constraint(table, self.name)
        if there is None:
            return
        has = (there.kind, there.columns, there.referent, there.referent_columns, there.on_delete, there.on_update)
        wants = (
            "f",
            list(self.columns),
            referent.oid,
            list(self.referent_columns),
            ACTIONS[self.ondelete.upper()],
            ACTIONS[self.onupdate.upper()],
        )
        timing = (there.match, there.deferrable, there.deferred)
        if has != wants or timing != (MATCHES[self.match.upper()], self.deferrable, self.initially_deferred):
            raise InvalidOperation(
                f"there is a constraint {self.name} on {table} already, and it is another one:\n  there is  {there.definition}"
            )


@operation("create_foreign_key_online")
class CreateForeignKeyOnline(ForeignKeyOperation):
    """Add a foreign key while both tables are in use.

    It holds for new rows at once (SHARE ROW EXCLUSIVE on both tables for an instant), then the rows that are there are
    checked under SHARE UPDATE EXCLUSIVE. Rows that refer to nothing are counted and shown, and the constraint is gone
    again. Before PostgreSQL 18 a partitioned table gets it partition by partition, then adopts them::

        op.create_foreign_key_online(
            "fk_tickets_organization", "tickets", "organizations", ["organization_id"], ["id"], ondelete="CASCADE",
        )
    """

    referent: str = field()
    columns: Sequence[str] = field()
    referent_columns: Sequence[str] = field()

    def check(self) -> None:
        super().check()
        if not self.columns:
            raise InvalidOperation(f"foreign key {self.name} of {self.table} has no columns")

    def reverse(self) -> DropForeignKeyOnline:
        return _other(DropForeignKeyOnline, self)

    def notes(self, db: Catalog) -> Sequence[str]:
        table = db.table(self.table, self.schema)
        if not db.online or db.has_index_on(table, self.columns):
            return ()
        return [
            (
                f"no index of {table} begins with {', '.join(self.columns)}, so each DELETE on {self.referent} scans the whole table:"
                f" op.create_index_concurrently(None, {self.table!r}, {list(self.columns)!r})"
            )
        ]

    def plan(self, db: Catalog) -> Iterator[Step]:
        table, referent = db.table(self.table, self.schema), db.table(self.referent, self.referent_schema)
        self.same_or_refuse(db, table, referent)
        if table.partitioned and db.version < 180000:
            yield from self._by_partition(db, table, referent)
        else:
            yield from self._on(steps.tree(db, table) if table.partitioned else [table], referent, db)

    def _on(self, tables: Sequence[Relation], referent: Relation, db: Catalog) -> Iterator[Step]:
        referents = [each for each in _with_partitions(db, referent) if each not in tables]
        both = sorted([*tables, *referents], key=lambda each: each.oid)
        give_up = steps.drop(self.name, tables, also=steps.on_all(Mode.ACCESS_EXCLUSIVE, referents))
        yield steps.add(self.name, self.definition(referent), tables, steps.on_all(Mode.SHARE_ROW_EXCLUSIVE, both))
        yield steps.validate(
            self.name,
            tables,
            partial(
                steps.orphans,
                table=tables[0],
                columns=self.columns,
                referent=referent,
                referent_columns=self.referent_columns,
            ),
            also=steps.on_all(Mode.ROW_SHARE, referents),
            give_up=[give_up],
        )

    def _by_partition(self, db: Catalog, table: Relation, referent: Relation) -> Iterator[Step]:
        """Before 18 NOT VALID is refused on the parent; valid ones on the partitions are adopted by it without a scan."""
        parts = db.descendants(table)
        for part in parts:
            if part.kind == "r":
                yield from self._on([part], referent, db)
        yield Step(
            f"add {self.name} to {table}, which adopts those of its partitions",
            sql("alter table {} add constraint {} {}", table.ident, ident(self.name), self.definition(referent)),
            locks=[
                *steps.on_all(Mode.SHARE_ROW_EXCLUSIVE, [table, *parts]),
                *steps.on_all(Mode.ACCESS_EXCLUSIVE, _with_partitions(db, referent)),
            ],
            done=partial(steps.has, name=self.name, table=table),
        )


@operation("drop_foreign_key_online")
class DropForeignKeyOnline(ForeignKeyOperation):
    """Drop a foreign key; ACCESS EXCLUSIVE on both tables for an instant. With its definition it can be undone::

    op.drop_foreign_key_online("fk_tickets_organization", "tickets", "organizations", ["organization_id"], ["id"])
    """

    def reverse(self) -> CreateForeignKeyOnline:
        if not self.columns or self.referent is None:
            raise NotReversible(f"{self.title}: say what it refers to, and the columns, so that it can be made again")
        return _other(CreateForeignKeyOnline, self)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        if self.referent is not None and self.columns:
            self.same_or_refuse(db, table, db.table(self.referent, self.referent_schema))
        tables = steps.tree(db, table) if table.partitioned else [table]
        if not steps.has(db, name=self.name, table=table):
            tables = [part for part in tables if db.online and steps.has(db, name=self.name, table=part)] or tables[:1]
            for part in tables:
                yield self._drop(db, [part])
        else:
            yield self._drop(db, tables)

    def _drop(self, db: Catalog, tables: list[Relation]) -> Step:
        there = db.constraint(tables[0], self.name)
        referents = _with_partitions(db, db.by_oid(there.referent)) if there and there.referent else []
        also = [each for each in referents if each not in tables]
        return steps.drop(self.name, tables, also=steps.on_all(Mode.ACCESS_EXCLUSIVE, also))


def _with_partitions(db: Catalog, table: Relation) -> list[Relation]:
    return [table, *db.descendants(table)] if table.partitioned else [table]


# -- NOT NULL ------------------------------------------------------------------------------------------------------------


@operation("set_not_null_online")
class SetNotNullOnline(StateOperation):
    """Forbid NULL in a column while the table is in use.

    It holds for new rows at once (ACCESS EXCLUSIVE for an instant), then the rows that are there are checked under SHARE
    UPDATE EXCLUSIVE: by NOT NULL ... NOT VALID on PostgreSQL 18, and by a CHECK before it, which is the proof that spares
    SET NOT NULL its scan. The dump is the one that a plain SET NOT NULL gives::

        op.set_not_null_online("tickets", "organization_id")
    """

    table: str
    column: str
    _: KW_ONLY
    schema: str | None = None

    @property
    def title(self) -> str:
        return f"{self.directive} {self.column} of {self.table}"

    def reverse(self) -> DropNotNull:
        return DropNotNull(self.table, self.column, schema=self.schema)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        tables = steps.tree(db, table)
        if not db.online:
            yield from self._by_check(table, tables)
            return
        if _column(db, table, self.column).not_null and _is_proven(db, table, self.column):
            yield from _drop_proof(db, table, tables, self.column)
            return
        yield from (self._by_not_valid if db.version >= 180000 else self._by_check)(table, tables)

    def _by_not_valid(self, table: Relation, tables: Sequence[Relation]) -> Iterator[Step]:
        yield Step(
            f"forbid NULL in {self.column} of {table} for new rows",
            # without a name the server gives it the one that SET NOT NULL would
            sql("alter table {} add not null {} not valid", table.ident, ident(self.column)),
            locks=steps.on_all(Mode.ACCESS_EXCLUSIVE, tables),
            done=lambda db: db.not_null(table, self.column) is not None,
        )
        yield Step(
            f"check the rows of {table} for NULL in {self.column}",
            # VALIDATE CONSTRAINT wants the name, and the server chose it
            _validate_not_null(table, self.column),
            locks=steps.on_all(Mode.SHARE_UPDATE_EXCLUSIVE, tables),
            done=partial(_is_proven, table=table, column=self.column),
            explain=partial(self._nulls, table=table),
            give_up=[_drop_not_null(table, tables, self.column)],
        )

    def _by_check(self, table: Relation, tables: Sequence[Relation]) -> Iterator[Step]:
        proof = _proof(table, self.column)
        drop = steps.drop(proof, tables)
        for step in (
            steps.add(
                proof,
                sql("check ({} is not null)", ident(self.column)),
                tables,
                steps.on_all(Mode.ACCESS_EXCLUSIVE, tables),
            ),
            steps.validate(proof, tables, partial(self._nulls, table=table), give_up=[drop]),
            Step(
                f"forbid NULL in {self.column} of {table}",
                sql("alter table {} alter column {} set not null", table.ident, ident(self.column)),
                locks=steps.on_all(Mode.ACCESS_EXCLUSIVE, tables),
            ),
        ):
            yield _unless(step, lambda db: _column(db, table, self.column).not_null)
        yield drop

    def _nulls(self, db: Catalog, *, table: Relation) -> str:
        condition = sql("{} is null", ident(self.column))
        return steps.violating_rows(db, table=table, condition=condition, do=f"have NULL in {self.column}")


@operation("drop_not_null")
class DropNotNull(StateOperation):
    """Allow NULL in a column; ACCESS EXCLUSIVE for an instant::

    op.drop_not_null("tickets", "organization_id")
    """

    table: str
    column: str
    _: KW_ONLY
    schema: str | None = None

    @property
    def title(self) -> str:
        return f"{self.directive} {self.column} of {self.table}"

    def reverse(self) -> SetNotNullOnline:
        return SetNotNullOnline(self.table, self.column, schema=self.schema)

    def plan(self, db: Catalog) -> Iterator[Step]:
        table = db.table(self.table, self.schema)
        tables = steps.tree(db, table)
        if db.online:
            self._check(db, table)
            yield from _drop_proof(db, table, tables, self.column)
        yield _drop_not_null(table, tables, self.column)

    def _check(self, db: Catalog, table: Relation) -> None:
        _column(db, table, self.column)
        named = db.not_null(table, self.column)
        usual = name_of_not_null(table.name, self.column)
        if named is not None and not named.name.startswith(usual):
            raise InvalidOperation(
                f"NOT NULL of column {self.column!r} of {table} has the name {named.name!r}, which would not come back:"
                f" rename that constraint to {usual!r} first"
            )


def name_of_not_null(table: str, column: str) -> str:
    """Give the name that the server gives to a NOT NULL constraint, cut as it cuts."""
    room = NAME_BYTES - len("__not_null")
    first, second = table.encode(), column.encode()
    while len(first) + len(second) > room:
        if len(first) > len(second):
            first = first[:-1]
        else:
            second = second[:-1]
    return f"{first.decode(errors='ignore')}_{second.decode(errors='ignore')}_not_null"


def _proof(table: Relation, column: str) -> str:
    """Name the CHECK that spares SET NOT NULL its scan."""
    return name_of(table.name, column, "pgopt_not_null")


def _drop_proof(db: Catalog, table: Relation, tables: Sequence[Relation], column: str) -> Iterator[Step]:
    """Drop the proof that an interrupted run has left."""
    proof = _proof(table, column)
    if steps.has(db, name=proof, table=table):
        yield steps.drop(proof, tables)


def _column(db: Catalog, table: Relation, name: str) -> Column:
    there = {column.name: column for column in db.columns(table)}
    if name not in there:
        raise InvalidOperation(f"{table} has no column {name!r}: it has {', '.join(there)}")
    return there[name]


def _is_proven(db: Catalog, table: Relation, column: str) -> bool:
    """Whether NOT NULL holds for all rows; up to 17 it always does where it is there."""
    named = db.not_null(table, column)
    return named.valid if named is not None else db.version < 180000 and _column(db, table, column).not_null


def _unless(step: Step, done: Callable[[Catalog], bool]) -> Step:
    return replace(step, done=lambda db: done(db) or (step.done is not None and step.done(db)))


def _drop_not_null(table: Relation, tables: Sequence[Relation], column: str) -> Step:
    return Step(
        f"allow NULL in {column} of {table}",
        sql("alter table {} alter column {} drop not null", table.ident, ident(column)),
        locks=steps.on_all(Mode.ACCESS_EXCLUSIVE, tables),
        done=lambda db: not _column(db, table, column).not_null,
    )


def _validate_not_null(table: Relation, column: str) -> Composable:
    """Validate the constraint whose name the server has chosen."""
    return sql(
        "do $pgopt$ begin execute (select format('alter table %s validate constraint %I', c.conrelid::regclass, c.conname)"
        " from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]"
        " where c.conrelid = {} and c.contype = 'n' and a.attname = {}); end $pgopt$",
        literal(table.oid),
        literal(column),
    )
