"""The runner that writes a plan as a script for psql."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgopt.errors import NeedsDatabase, PgoptError
from pgopt.plan.batches import ALL_ROWS
from pgopt.plan.revisions import SCHEMA_OF_VERSIONS, current_revision, memory_of
from pgopt.plan.settings import timeout
from pgopt.plan.step import BatchStep, DrainStep, Step
from pgopt.server.keys import said_of_nullable, unseen_order
from pgopt.server.locks import lock_tables
from pgopt.server.quoting import dollars, ident, joined, literal, render, sql, verbatim
from pgopt.server.unseen import UNSEEN, Unseen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import LiteralString

    from alembic.runtime.migration import MigrationContext
    from psycopg.sql import Composable

    from pgopt.plan.run import Plannable
    from pgopt.plan.settings import Settings
    from pgopt.plan.step import AnyStep, Plan
    from pgopt.server.objects import Relation
    from pgopt.server.undo import Memory

STOP = "\\set ON_ERROR_STOP on"


def write(context: MigrationContext, operation: Plannable, settings: Settings) -> None:
    """Write what an operation does; psql runs it to the same result as the runner."""
    try:
        memory = _memory(context)
        db = Unseen(memory)
        plan = operation.make_plan(db)
        lines = [render(line) for step in plan.steps for line in _lines(step, settings)]
        refusals = [
            *map(_refuse_partitioned, db.assumed),
            *_refuse_unseen(plan.steps),
            *_refuse_half_done(plan, memory),
        ]
        lines = [*map(render, refusals), *lines]
        if lines:
            lines = [_set_limits("'0'"), *lines, _set_limits("null")]
    except PgoptError as error:
        raise type(error)(f"{operation.title}: {error}") from error
    put = context.impl.static_output
    stop_at_errors(context)
    # Alembic has a transaction open here, and the steps have their own
    if context.impl.transactional_ddl:
        context.impl.emit_commit()
    # a comment ends with its line, and a name need not
    put(f"-- {' '.join(plan.title.split())}")
    if any(isinstance(step, BatchStep) for step in plan.steps):
        put("-- where this is interrupted, nobody remembers how far it came: it begins anew at the first row")
    for line in lines:
        put(f"{line};")
    if context.impl.transactional_ddl:
        context.impl.emit_begin()


def stop_at_errors(context: MigrationContext) -> None:
    """Have psql stop at the first error, from here on: what comes after it would be done and not stamped, or stamped and not done."""
    if not getattr(context.impl, "_pgopt_stops", False):
        context.impl.static_output(STOP)
        context.impl._pgopt_stops = True  # type: ignore[attr-defined]


def _memory(context: MigrationContext) -> Memory:
    """Give the place of the revision in the chain of the schema in which the script is run, as the runner names it."""
    memory = memory_of(current_revision(context))
    if not memory.chain or context.version_table_schema:
        return memory
    named = literal(render(ident(context.version_table)))
    there = sql("concat_ws('.', ({}), {})", sql(SCHEMA_OF_VERSIONS, named), literal(context.version_table))
    return replace(memory, chain=there)


def _lines(step: AnyStep, settings: Settings) -> Iterator[Composable]:
    if isinstance(step, DrainStep) or (isinstance(step, Step) and callable(step.sql)):
        raise NeedsDatabase(UNSEEN)
    if isinstance(step, BatchStep):
        # a plan for any keys would read all that is before them
        yield from _under({"plan_cache_mode": "force_custom_plan", **ALL_ROWS}, [_loop(step, settings)])
    elif step.transaction:
        yield verbatim("BEGIN")
        yield sql("set local lock_timeout = {}", literal(timeout(settings.lock_timeout)))
        if len(step.locks) > 1:
            yield from lock_tables(step.locks)
        yield from step.statements
        yield verbatim("COMMIT")
    else:
        yield from _under({"lock_timeout": timeout(settings.concurrent_timeout)}, step.statements)


def _under(settings: Mapping[str, str], statements: Iterable[Composable]) -> Iterator[Composable]:
    """Change settings of the session for some statements."""
    for name, value in settings.items():
        yield sql("set {} = {}", verbatim(name), literal(value))
    yield from statements
    for name in settings:
        yield sql("reset {}", verbatim(name))


def _set_limits(value: LiteralString) -> str:
    """Set the timeouts under which a long statement would be cancelled, and leave an invalid index behind.

    PostgreSQL 17 is the first with the second, and the script does not know who will run it.
    """
    return f"""do $pgopt$ begin
    perform set_config(name, {value}, false) from pg_settings where name in ('statement_timeout', 'transaction_timeout');
end $pgopt$"""


_REFUSAL = """do {tag}
begin
    if exists (select from pg_class where oid = to_regclass({table}) and relkind in ('p', 'I')) then
        raise exception using message = {message};
    end if;
end
{tag}"""


def _refuse_partitioned(table: Relation) -> Composable:
    """Stop the script at a partitioned table, whose partitions the plan has not seen."""
    name, message = render(table.ident), f"{table} is partitioned: run this revision online"
    return dollars(lambda tag: sql(_REFUSAL, tag=tag, table=literal(name), message=literal(message)))


_REFUSAL_OF_ROWS = """do {tag}
declare
    said text := ({said});
begin
    if said is not null then
        raise exception using message = said;
    end if;
end
{tag}"""


def _refuse_unseen(steps: Sequence[AnyStep]) -> Iterator[Composable]:
    """Stop the script at batches that would leave rows out.

    Those with NULL in the key, those that its bare operators put in another order, since they are of another type, and those of children.
    """
    for step in steps:
        if isinstance(step, BatchStep) and step.key:
            ways = (
                unseen_order(step.table, step.key),
                said_of_nullable(step.table, step.key),
                _said_of_children(step.table),
            )
            for said in ways:
                yield dollars(lambda tag, said=said: sql(_REFUSAL_OF_ROWS, tag=tag, said=said))  # type: ignore[misc]


def _said_of_children(table: Relation) -> Composable:
    return sql(
        "select {} where exists (select from pg_inherits where inhparent = to_regclass({}))",
        literal(f"{table} has children, which the plan has not seen: run this revision online"),
        literal(render(table.ident)),
    )


_REFUSAL_OF_HALF_DONE = """do {tag}
begin
    if to_regclass('pgopt.run') is not null then
        if exists (select from pgopt.run where (chain, revision) = {row}) then
            raise exception using message = {message};
        end if;
    end if;
end
{tag}"""


def _refuse_half_done(plan: Plan, memory: Memory) -> Iterator[Composable]:
    """Stop the script of a revision that was interrupted online: how far its batches came, only the runner knows."""
    if memory.revision and any(isinstance(step, BatchStep) for step in plan.steps):
        message = f"revision {memory.revision} was interrupted: finish it online, or take it back with `pgopt undo {memory.revision}`"
        yield dollars(
            lambda tag: sql(
                _REFUSAL_OF_HALF_DONE,
                tag=tag,
                row=memory.row,
                message=literal(message),
            )
        )


# what a migration says means columns, whatever names there are here, and here a variable is meant, whatever columns there are
_LOOP = """do {tag}
#variable_conflict use_column
<<pgopt_batches>>
declare
{variables}
    fresh boolean := true;
begin
    select {key} into {ends} from only {table} order by {descending} limit 1;
    if not found then
        return;
    end if;
    loop
        select {key} into {edges} from only {table}
        where {rest}
        order by {key} offset {offset} limit 1;
        if not found then
            {take_end}
        end if;
        {statement};
        commit;
        exit when ({edges}) = ({ends});
        {take_edge}
        fresh := false;
    end loop;
end
{tag}"""


def _loop(step: BatchStep, settings: Settings) -> Composable:
    """Write batches as a block that commits after each."""
    if not step.key:
        raise NeedsDatabase("it must see the database to find the key of the table: say key=[...], or run it online")
    count = range(len(step.key))
    last, edge, end = ([ident("pgopt_batches", f"{word}_{n}") for n in count] for word in ("last", "edge", "end"))
    columns = [ident(name) for name in step.key]
    statement = step.statement(_between(columns, last, edge))
    return dollars(
        lambda tag: sql(
            _LOOP,
            tag=tag,
            variables=_variables(step),
            key=joined(columns),
            rest=_between(columns, last, end),
            edges=joined(edge),
            ends=joined(end),
            table=step.table.ident,
            descending=joined(sql("{} desc", column) for column in columns),
            offset=literal(settings.batch_rows - 1),
            take_end=_assign(edge, end),
            statement=statement,
            take_edge=_assign(last, edge),
        )
    )


def _between(columns: Sequence[Composable], last: Sequence[Composable], upto: Sequence[Composable]) -> Composable:
    """Give the condition of a range of keys; the first column alone, too, as KeyRange does."""
    key = joined(columns)
    rows = sql("(pgopt_batches.fresh or ({}) > ({})) and ({}) <= ({})", key, joined(last), key, joined(upto))
    if len(columns) == 1:
        return rows
    first = sql("(pgopt_batches.fresh or {} >= {}) and {} <= {}", columns[0], last[0], columns[0], upto[0])
    return joined([first, rows], " and ")


def _variables(step: BatchStep) -> Composable:
    said = "    {} {}.{}%type;"
    return joined(
        (
            sql(said, ident(f"{word}_{n}"), step.table.ident, ident(name))
            for word in ("last", "edge", "end")
            for n, name in enumerate(step.key)
        ),
        "\n",
    )


def _assign(targets: Sequence[Composable], values: Sequence[Composable]) -> Composable:
    return joined((sql("{} := {};", target, value) for target, value in zip(targets, values, strict=True)), " ")
