"""Promise 3: run again when done, and no statement that changes anything is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from pgopt.plan.events import StepStarted
from pgopt.server.catalog import Catalog
from pgopt.server.session import Session
from tests.contract.conftest import differences, over, schema_of, versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgopt.operations import Operation
    from tests.contract.examples import Example
    from tests.databases import Database

# all functions that a read may call, and the locks and settings that end with the session
HARMLESS = re.compile(
    r"any|array|array_agg|array_to_string|cardinality|coalesce|concat_ws|col_description|count|current_database|current_setting|differences_of_columns|exists|extract|format"
    r"|format_type|generate_series|has_schema_privilege|has_table_privilege|pg_has_role|hashtextextended|in|jsonb_agg|jsonb_build_array|jsonb_build_object|left|length|max|min|nullif"
    r"|obj_description|pg_advisory_unlock|pg_backend_pid|pg_blocking_pids|current_schema|pg_current_xact_id_if_assigned"
    r"|pg_describe_object|pg_get_constraintdef|pg_get_expr|pg_get_indexdef|pg_identify_object|pg_index_has_property|pg_get_statisticsobjdef|pg_get_userbyid|pg_get_viewdef|pg_partition_ancestors|pg_partition_tree"
    r"|pg_try_advisory_lock|quote_ident|quote_literal|regexp_replace|set_config|string_agg|substr|to_jsonb|to_regclass"
    r"|to_regnamespace|unnest|unseen_changes|unwatched"
)
WRITING_WORDS = frozenset(["into", "for", "insert", "update", "delete", "merge", "create", "call"])
PROBE = re.compile(
    r'create temp table "(?:[^"]|"")*" \(like |create temp view pgopt_probe |create .*index "pgopt_probe_index" on "pg_temp"\.'
    r'|alter table "pg_temp"\."(?:[^"]|"")*" add constraint pgopt_probe_it '
    r'|alter table "pg_temp"\."(?:[^"]|"")*" add column "pgopt_probe_(it|bare)" '
    r"|create temp view pgopt_probe_it as select "
    r'|create function "pg_temp"\."pgopt_probe_row"\("pg_temp"\.|create cast \("pg_temp"\.'
    r'|create statistics "pg_temp"\."pgopt_probe_it" ',
    re.DOTALL,
)
QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\1\$""", re.DOTALL)


def changing(statements: Sequence[str]) -> list[str]:
    """The statements that change something, or of which nobody has said that they do not."""
    found: list[str] = []
    opened: list[str] | None = None
    for statement in statements:
        match statement.strip().lower():
            case "begin isolation level read committed" | "begin read write":
                opened = []
            case "rollback" if opened is not None:
                # what was sent in here is gone, yet nothing but the probe has a reason to be
                found += [each for each in opened if not PROBE.match(each)]
                opened = None
            case _ if not reads(statement):
                (found if opened is None else opened).append(statement)
    return found + (opened or [])


def reads(statement: str) -> bool:
    """Whether a statement is known to read only."""
    words = QUOTED.sub("''", statement).lower()
    if re.fullmatch(r"show \w+", words.strip()):
        return True
    called = set(re.findall(r"(\w+)\s*\(", words)) - {
        "select",
        "from",
        "join",
        "where",
        "and",
        "or",
        "not",
        "as",
        "on",
        "k",
        "lateral",
        "materialized",
    }
    return bool(
        re.match(r"\s*(select|with)\b", words)
        and all(map(HARMLESS.fullmatch, called))
        and not WRITING_WORDS.intersection(re.findall(r"\w+", words))
    )


@pytest.mark.parametrize(
    "statement",
    [
        "insert into t values (1)",
        "select setval('s', 1)",
        "select * into t from s",
        "select from t for update",
        "with x as (delete from t returning *) select * from x",
        "select unknown_function()",
        'drop index "x"',
        "do $$ begin end $$",
        "analyze t",
        "commit",
    ],
)
def test_classifier_knows_what_changes(statement: str) -> None:
    assert changing([statement]) == [statement]
    assert changing(["begin read write", statement, "rollback"]) == [statement]


def test_classifier_knows_what_reads() -> None:
    assert (
        changing(
            ["select pg_try_advisory_lock(1)", "show server_version_num", "select 'insert into x', \"update\" from t"]
        )
        == []
    )


def test_classifier_knows_a_transaction_that_is_kept() -> None:
    probe = 'create temp table "t" (like "public"."t")'
    assert changing(["begin read write", probe, "rollback"]) == []
    assert changing(["begin read write", probe, "commit"]) == [probe, "commit"]


@over(lambda example: example.reversible)
def test_second_run_changes_nothing(prepared: Database, example: Example) -> None:
    prepared.perform(example.operation)
    before = versions(prepared)
    engine = prepared.engine()
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: sent.append(statement))
    events = prepared.perform(example.operation, engine=engine)
    assert sent, "the recorder has not seen anything"
    assert changing(sent) == []
    assert [each for each in events if isinstance(each, StepStarted)] == []
    assert differences(versions(prepared), before) == []
    assert left(prepared, example.operation) == [], "the preview does not find everything done"


def left(database: Database, operation: Operation) -> list[str]:
    """The steps that a preview does not find done."""
    with database.engine().connect() as connection:
        session = Session(connection)
        with session.autocommit():
            db = Catalog(session)
            steps = operation.make_plan(db).steps
            return [step.label for step in steps if not getattr(step, "done", None) or not step.done(db)]  # type: ignore[union-attr,misc]


@over(lambda example: not example.reversible)
def test_action_does_no_harm_when_done_twice(prepared: Database, example: Example) -> None:
    schema, counts = schema_of(prepared, example), {table: len(rows) for table, rows in prepared.contents().items()}
    prepared.perform(example.operation, example.operation)
    assert schema_of(prepared, example) == schema
    assert {table: len(rows) for table, rows in prepared.contents().items()} == counts
    assert prepared.rows("select indexrelid::regclass from pg_index where not indisvalid or not indisready") == []
