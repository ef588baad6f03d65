"""Promise 7: an operation reads as it was written, and its plan tells what would happen without doing it."""

from __future__ import annotations

import ast
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgopt
from pgopt import operations
from pgopt.operations import CreateForeignKeyOnline, CreateIndexConcurrently, Operation, StateOperation
from pgopt.plan.preview import OperationView, Preview
from pgopt.plan.revisions import UP
from pgopt.plan.undoing import Begun
from pgopt.server.catalog import Catalog
from pgopt.server.quoting import NAME_BYTES, ident, render, sql
from pgopt.server.session import Session
from tests.contract.conftest import differences, versions
from tests.contract.examples import EXAMPLES

if TYPE_CHECKING:
    from pgopt.plan.step import Plan
    from tests.contract.examples import Example
    from tests.databases import Database

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=NAME_BYTES).filter(
    # a table that is called like one of the catalog is found with its schema alone
    lambda name: len(name.encode()) <= NAME_BYTES and not name.startswith("pg_")
)


REVERSIBLE = [
    example
    for example in EXAMPLES
    if example.reversible and isinstance(example.operation, Operation) and example.operation.lasts
]


@pytest.mark.parametrize("example", REVERSIBLE, ids=str)
def test_an_inverse_knows_what_it_takes_back(example: Example) -> None:
    assert any(
        isinstance(each, Operation) and each.undoes(Begun.of(example.operation, ""), ()) for each in example.inverse
    )


def test_an_inverse_knows_what_it_does_not_take_back() -> None:
    index = CreateIndexConcurrently("ix", "t", ["a"])
    for other in (CreateIndexConcurrently("ix", "other", ["a"]), CreateIndexConcurrently("ix_two", "t", ["a"])):
        assert not index.reverse().undoes(Begun.of(other, ""), ())
        assert not operations.DropIndexConcurrently("ix", "t").undoes(Begun.of(other, ""), ())


def read(text: str) -> Operation:
    """Evaluate it where all public names are there."""
    found = eval(text, {name: getattr(module, name) for module in (pgopt, operations) for name in module.__all__})
    assert isinstance(found, Operation)
    return found


def plan_of(database: Database, operation: Operation) -> Plan:
    with database.engine().connect() as connection:
        session = Session(connection)
        with session.autocommit():
            return operation.make_plan(Catalog(session))


def view_of(database: Database, operation: Operation) -> OperationView:
    """What `pgopt plan` shows of it."""
    preview = Preview()
    with (
        database.engine(isolation_level="AUTOCOMMIT").connect() as connection,
        preview.looking(connection),
        preview.revision("first", UP, None),
    ):
        preview.show(operation, "")
    (view,) = preview.revisions[0].parts
    assert isinstance(view, OperationView)
    return view


@pytest.mark.parametrize("each", EXAMPLES, ids=str)
def test_repr_reads_back(each: Example) -> None:
    again = read(repr(each.operation))
    assert again == each.operation
    assert repr(again) == repr(each.operation)


@pytest.mark.parametrize("each", EXAMPLES, ids=str)
def test_repr_leaves_defaults_out(each: Example) -> None:
    call = ast.parse(repr(each.operation), mode="eval").body
    assert isinstance(call, ast.Call)
    said = {keyword.arg for keyword in call.keywords}
    defaults = {
        field.name
        for field in fields(each.operation)
        if field.default is not MISSING and getattr(each.operation, field.name) == field.default
    }
    assert said & defaults == set()
    assert len(call.args) + len(said) == len(fields(each.operation)) - len(defaults)


@pytest.mark.parametrize("each", [each for each in EXAMPLES if isinstance(each.operation, StateOperation)], ids=str)
def test_inverse_of_the_inverse_is_the_operation(each: Example) -> None:
    assert isinstance(each.operation, StateOperation)
    inverse = each.operation.reverse()
    assert isinstance(inverse, StateOperation)
    assert inverse != each.operation
    assert read(repr(inverse)) == inverse
    assert inverse.reverse() == each.operation


def test_plan_tells_the_steps_and_changes_nothing(prepared: Database, example: Example) -> None:
    before = versions(prepared)
    plan = plan_of(prepared, example.operation)
    assert differences(versions(prepared), before) == []
    labels = [step.label for step in plan.steps]
    assert labels
    assert all(label.strip() and "\n" not in label for label in labels)
    assert len(set(labels)) == len(labels), "two steps read the same"
    view = view_of(prepared, example.operation)
    assert (view.refused, [step.label for step in view.steps]) == (None, labels)


def test_advice_can_be_pasted_where_the_table_is_in_another_schema(database: Database) -> None:
    database.run('create schema "S x"; create table "S x".a (id int primary key); create table "S x".b (a int)')
    key = CreateForeignKeyOnline("b_a", "b", "a", ["a"], ["id"], schema="S x", referent_schema="S x")
    assert "op.create_index_concurrently(None, 'b', ['a'], schema='S x')" in plan_of(database, key).notes[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=NAMES, column=NAMES, name=NAMES)
def test_any_name_can_be_used(database: Database, table: str, column: str, name: str) -> None:
    database.run(
        render(
            sql(
                "drop schema public cascade; create schema public; create table {} ({} int)",
                ident(table),
                ident(column),
            )
        )
    )
    if name == table:
        name = name[:-1] + ("x" if name[-1] != "x" else "y")
    operation = CreateIndexConcurrently(name, table, [render(ident(column))])
    assert read(repr(operation)) == operation
    before = database.dump()
    database.perform(operation)
    made = "select c.relname, a.attname from pg_index i join pg_class c on c.oid = i.indexrelid"
    made += " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] where i.indisvalid and c.oid >= 16384"
    assert (name, column) in database.rows(made)
    database.perform(operation.reverse())
    assert (name, column) not in database.rows(made)
    assert database.dump() == before
