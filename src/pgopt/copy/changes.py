"""The log of changes: which keys of a table were written, so that the same can be done to its copy.

Statement-level triggers note the keys of all rows that a statement touched, in its own transaction. Replaying deletes those
keys from the copy and inserts the rows that the source has now, so that it does not matter how often, or how late.

UNION and DISTINCT keep one spelling of keys that are equal, so keys must be compared by the operators that these take, too: under
a bare `=` citext is text, and the row of a key that was noted as 'a' and is 'A' by now would be deleted and not inserted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgopt.copy.shape import stored_columns, without_defaults
from pgopt.server.keys import equality_of
from pgopt.server.merges import have_updates_told
from pgopt.server.quoting import ident, joined, literal, name_of, render, sql, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composable

    from pgopt.server.catalog import Catalog
    from pgopt.server.objects import Relation

TRIGGERS = {
    "pgopt_insert": "insert on {} referencing new table as new_rows",
    "pgopt_update": "update on {} referencing old table as old_rows new table as new_rows",
    "pgopt_delete": "delete on {} referencing old table as old_rows",
    "pgopt_truncate": "truncate on {}",
}

_NOTE = """
begin
    case tg_op
        when 'INSERT' then insert into {log} ({keys}) select {columns} from new_rows where {within};
        when 'UPDATE' then
            insert into {log} ({keys})
                select {columns} from old_rows where {within} union select {columns} from new_rows where {within};
        when 'DELETE' then insert into {log} ({keys}) select {columns} from old_rows where {within};
        -- a partition says which rows are gone with it, the whole table says all
        else insert into {log} (gone) values (coalesce(pg_get_partition_constraintdef(tg_relid), 'true'));
    end case;
    return null;
end
"""

_REPLAY = """
declare
    taken {log}[];
    condition text;
begin
    with entry as (
        delete from {log} l where n in (select n from {log} order by n limit most) returning l
    )
    select coalesce(array_agg(entry.l), array[]::{log}[]) into taken from entry;
    if cardinality(taken) = 0 then
        return 0;
    end if;
    for condition in select distinct e.gone from unnest(taken) e where e.gone is not null loop
        execute format('delete from %s where %s', {target_text}, condition);
    end loop;
    delete from {target} t using (select distinct {keys} from unnest(taken) where gone is null) e
        where {t_same};
    insert into {target} ({stored}) overriding system value
        select {s_stored} from (select distinct {keys} from unnest(taken) where gone is null) e
        join (select * from {source} where {within}) s on {s_same};
    return cardinality(taken);
end
"""


@dataclass(frozen=True)
class Changes:
    """The log of one table's changes, on their way to its copy."""

    schema: str | None
    name: str
    """Of the table that the application knows."""
    form: str
    """Of the copy."""

    @property
    def log(self) -> Composable:
        """The table that is the log."""
        return ident("pgopt", self._name("log"))

    @property
    def note(self) -> Composable:
        """The function of the triggers."""
        return ident("pgopt", self.note_name)

    @property
    def note_name(self) -> str:
        """The name of that function."""
        return self._name("note")

    @property
    def replayer(self) -> Composable:
        """The function that does to the copy what was done to the source."""
        return ident("pgopt", self._name("replay"))

    def exists(self, db: Catalog) -> bool:
        """Whether the log is there."""
        return bool(self.kept_in(db))

    def kept_in(self, db: Catalog) -> list[Relation]:
        """Give the log, where it is there."""
        found = db.relation(self._name("log"), "pgopt")
        return [] if found is None else [found]

    def watched(self, db: Catalog, *, whole: bool = False) -> list[Relation]:
        """Give the tables that have triggers of it; or those that have all, of which a new partition gets one from its table."""
        rows = db.session.rows(
            sql(
                "select c.oid::int8 from pg_class c where exists (select from pg_trigger t join pg_proc f on f.oid = t.tgfoid"
                " where t.tgrelid = c.oid and (t.tgparentid = 0 or not {}) and f.pronamespace = to_regnamespace('pgopt') and f.proname = {})"
                " order by c.relkind <> 'p', c.oid",
                literal(whole),
                literal(self.note_name),
            )
        )
        return [db.by_oid(oid) for (oid,) in rows]

    def waiting(self, db: Catalog) -> bool:
        """Whether anything is in it."""
        return bool(db.session.value(sql("select exists (select from {})", self.log)))

    def create(self, like: Relation, match: Sequence[str]) -> Iterator[Composable]:
        """Make the log, for keys as a table has them; nothing is noted before `begin`."""
        keys = [f"k{number}" for number, _ in enumerate(match, 1)]
        columns = joined(sql("{} as {}", ident(name), ident(key)) for name, key in zip(match, keys, strict=True))
        yield sql("create table {} as select {} from {} with no data", self.log, columns, like.ident)
        yield without_defaults(self.log)
        yield sql(
            "alter table {} add column n bigint generated always as identity primary key, add column gone text",
            self.log,
        )
        yield self._note("begin return null; end")
        yield sql("revoke all on function {}() from public", self.note)

    def begin(
        self, db: Catalog, source: Relation, target: Relation, match: Sequence[str], within: str = "true"
    ) -> Iterator[Composable]:
        """Let the triggers note what they see from now on, under the names that the tables are called by here."""
        # asked before the first, so that both are sent together
        said = self._said(db, source, target, match, within)
        note, replay = (render(sql(template, **said)) for template in (_NOTE, _REPLAY))
        yield self._note(note)
        yield self._function(self.replayer, "(most integer) returns integer", replay, "")
        yield sql("revoke all on function {}(integer) from public", self.replayer)

    def remember(self, source: Relation, target: Relation, key: Sequence[str], *, ready: bool = False) -> Composable:
        """Write down that one table follows another."""
        return sql(
            "insert into pgopt.copy (source, target, log, key, ready) values ({}, {}, {}, {}, {})",
            *map(literal, (source.oid, target.oid)),
            sql("{}::regclass", literal(render(self.log))),
            literal(list(key)),
            literal(ready),
        )

    def watch(self, table: Relation) -> Iterator[Composable]:
        """Put the triggers on a table; SHARE ROW EXCLUSIVE."""
        for name, when in TRIGGERS.items():
            yield sql(
                "create trigger {} after {} for each statement execute function {}()",
                ident(name),
                sql(when, table.ident),
                self.note,
            )
            yield sql("alter table {} enable always trigger {}", table.ident, ident(name))
        if table.partitioned and table.parent is None:
            yield have_updates_told(table, ident("pgopt_told"), self.note)

    def drop(self) -> Iterator[Composable]:
        """Drop the log with its triggers; ACCESS EXCLUSIVE on the tables that have them."""
        yield sql("drop function if exists {}(integer)", self.replayer)
        yield sql("drop function if exists {} cascade", self.note)
        yield sql("drop table if exists {}", self.log)

    def replay(self, most: int | None) -> Composable:
        """Do to the copy what was done to the source, as many changes at most."""
        return sql("select {}({})", self.replayer, literal(most))

    def forget_copies(self, db: Catalog, target: Relation, match: Sequence[str]) -> Composable:
        """Take from a copy all keys in the log: rows that moved while it was filled are there twice."""
        return sql(
            "delete from {} t using (select distinct {} from {} where gone is null) e where {}",
            target.ident,
            joined(ident(f"k{number}") for number, _ in enumerate(match, 1)),
            self.log,
            _same("t", match, equality_of(db.session, target, match)),
        )

    def keys_in(self, db: Catalog, table: Relation, match: Sequence[str]) -> Composable:
        """Give the condition that a row `r` of a table has a key in the log."""
        same = _same("r", match, equality_of(db.session, table, match))
        return sql("exists (select from {} e where {})", self.log, same)

    def _name(self, what: str) -> str:
        return name_of(what, self.schema or "", self.name, self.form)

    def _note(self, body: str) -> Composable:
        # writers need no rights on the log: it is written by its owner
        return self._function(self.note, "() returns trigger", body, "security definer")

    def _function(self, name: Composable, signature: str, body: str, more: str) -> Composable:
        return sql(
            "create or replace function {}{} language plpgsql {} set search_path = pg_catalog, pg_temp"
            " set datestyle = 'ISO, MDY' as {}",
            name,
            verbatim(signature),
            verbatim(more),
            literal(body),
        )

    def _said(
        self, db: Catalog, source: Relation, target: Relation, match: Sequence[str], within: str
    ) -> dict[str, Composable]:
        stored = [ident(name) for name in stored_columns(db, source)]
        equal = equality_of(db.session, source, match)
        return {
            "log": self.log,
            "within": verbatim(within),
            "source": source.ident,
            "target": target.ident,
            "target_text": literal(render(target.ident)),
            "keys": joined(ident(f"k{number}") for number, _ in enumerate(match, 1)),
            "columns": joined(ident(name) for name in match),
            "t_same": _same("t", match, equal),
            "s_same": _same("s", match, equal),
            "stored": joined(stored),
            "s_stored": joined(sql("s.{}", name) for name in stored),
        }


def _same(row: str, match: Sequence[str], equal: Sequence[str]) -> Composable:
    """Write the condition that a row has the key of an entry `e` of the log."""
    pairs = enumerate(zip(match, equal, strict=True), 1)
    said = (sql("{} {} {}", ident(row, name), verbatim(sign), ident("e", f"k{n}")) for n, (name, sign) in pairs)
    return joined(said, " and ")
