"""One application in several schemas, tables of several roles, and rows that a policy hides."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import NullPool, create_engine, event

from pgopt import Monthly
from pgopt.errors import InvalidOperation, NotInstalled, PgoptError
from pgopt.operations import (
    AddColumnOnline,
    Backfill,
    CreateCheckConstraintOnline,
    CreateForeignKeyOnline,
    CreateIndexConcurrently,
    InstallPgopt,
    PartitionTable,
    UninstallPgopt,
)
from tests.databases import wait_until
from tests.integration.alembic_project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.databases import Database

# as Alembic's cookbook has it
TENANTS = """\
from alembic import context
from sqlalchemy import create_engine, pool, text

tenant = context.get_x_argument(as_dictionary=True)["tenant"]
with create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool).connect() as connection:
    connection.execute(text('set search_path to "%s"' % tenant))
    connection.commit()
    connection.dialect.default_schema_name = tenant
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""
FILLFACTORS = "select c.relnamespace::regnamespace::text, reloptions from pg_class c where relname = 't' order by 1"
DENSE = {"fillfactor": 90}


@pytest.fixture
def tenants(database: Database) -> Database:
    database.perform(InstallPgopt(1))
    for tenant, fillfactor in (("a", 77), ("b", 55)):
        database.run(f"create schema {tenant}; create table {tenant}.t (id int) with (fillfactor = {fillfactor})")
    return database


def test_each_tenant_gets_its_own_back(tenants: Database, tmp_path: Path) -> None:
    before = tenants.rows(FILLFACTORS)
    project = Project.with_run(tmp_path, tenants.server.url(tenants.name))
    project.write_env(TENANTS)
    project.revision("r1", f'op.set_storage_parameters("t", {DENSE})', f'op.reset_storage_parameters("t", {DENSE})')
    for tenant in "ab":
        project.upgrade(x=[f"tenant={tenant}"])
    assert tenants.rows(FILLFACTORS) == [("a", ["fillfactor=90"]), ("b", ["fillfactor=90"])]
    for tenant in "ab":
        project.downgrade("base", x=[f"tenant={tenant}"])
    assert tenants.rows(FILLFACTORS) == before


def test_the_schema_stays_until_the_last_of_its_tenants_goes(database: Database, tmp_path: Path) -> None:
    tables = "create schema {0}; create table {0}.t (id int primary key, n int); insert into {0}.t values (1, 1)"
    for tenant in ("a", '"B b"'):
        database.run(tables.format(tenant))
    before, rows = database.dump(), database.contents()
    database.run(tables.format("gone"))
    project = Project.with_run(tmp_path, database.server.url(database.name))
    project.revision("r1", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    script = project.downgrade("r1:base", sql=True)
    project.revision("r2", 'op.backfill("t", set={"n": "n + 1"})', 'op.backfill("t", set={"n": "n - 1"})')
    project.write_env(TENANTS)
    for tenant in ("a", "B b", "gone"):
        project.upgrade(x=[f"tenant={tenant}"])
    with pytest.raises(AssertionError, match="the revisions of others need the pgopt schema, too"):
        database.psql(f"set search_path = a;\n{script}")
    project.downgrade("base", x=["tenant=a"])
    project.upgrade(x=["tenant=a"])
    project.downgrade("base", x=["tenant=a"])
    project.downgrade("base", x=["tenant=B b"])
    assert database.rows("select chain from pgopt.version") == [("gone.alembic_version",)]
    database.run("drop schema gone cascade")
    # nobody needs it for a tenant that is gone
    project.upgrade("r1", x=["tenant=a"])
    project.downgrade("base", x=["tenant=a"])
    assert database.value("select to_regnamespace('pgopt')") is None
    database.run('drop table a.alembic_version, "B b".alembic_version')
    assert (database.dump(), database.contents()) == (before, rows)


def test_of_two_tenants_that_leave_the_schema_at_once_one_takes_it_down(tenants: Database, tmp_path: Path) -> None:
    """Each sees the other one, and deletes its own row."""
    tenants.perform(UninstallPgopt(1))
    project = Project.with_run(tmp_path, tenants.server.url(tenants.name))
    project.write_env(TENANTS)
    project.revision("r1", "op.install_pgopt(version=1)", "op.uninstall_pgopt(version=1)")
    for tenant in "ab":
        project.upgrade(x=[f"tenant={tenant}"])
    with ThreadPoolExecutor() as pool, tenants.connect() as other:
        with other.transaction():
            other.execute("delete from pgopt.version where chain = 'b.alembic_version'")
            first = pool.submit(project.refused, "-x", "tenant=a", "downgrade", "base")
            wait_until(
                "a lock that is waited for", lambda: tenants.value("select count(*) from pg_locks where not granted")
            )
        assert "others have left the pgopt schema at the same time: run again" in first.result()
    project.downgrade("base", x=["tenant=a"])
    assert tenants.value("select to_regnamespace('pgopt')") is None


def test_an_interrupted_tenant_stops_no_other(tenants: Database, tmp_path: Path) -> None:
    tenants.run("insert into a.t values (null)")
    project = Project.with_run(tmp_path, tenants.server.url(tenants.name))
    project.write_env(TENANTS)
    project.revision("r1", 'op.set_not_null_online("t", "id")', 'op.drop_not_null("t", "id")')
    project.revision("r2", 'op.create_index_concurrently("ix", "t", ["id"])', 'op.drop_index_concurrently("ix", "t")')
    with pytest.raises(PgoptError, match="have NULL in id"):
        project.upgrade(x=["tenant=a"])
    project.upgrade(x=["tenant=b"])
    assert tenants.rows("select chain, revision from pgopt.run") == [("a.alembic_version", "r1")]


def test_a_script_remembers_in_the_chain_of_the_schema_in_which_it_is_run(tenants: Database, tmp_path: Path) -> None:
    before = tenants.rows(FILLFACTORS)
    project = Project.with_run(tmp_path, tenants.server.url(tenants.name))
    project.revision("r1", f'op.set_storage_parameters("t", {DENSE})', f'op.reset_storage_parameters("t", {DENSE})')
    tenants.psql("set search_path = a;\n" + project.upgrade(sql=True))
    assert tenants.rows("select chain from pgopt.undo") == [("a.alembic_version",)]
    project.write_env(TENANTS)
    project.downgrade("base", x=["tenant=a"])
    assert tenants.rows(FILLFACTORS) == before


def test_a_revision_whose_file_is_gone_has_a_way_out(database: Database, tmp_path: Path) -> None:
    database.perform(InstallPgopt(1))
    database.run("create table t (id int); insert into t values (null)")
    project = Project.with_run(tmp_path, database.server.url(database.name))
    path = project.revision("r1", 'op.set_not_null_online("t", "id")', 'op.drop_not_null("t", "id")')
    with pytest.raises(PgoptError, match="have NULL in id"):
        project.upgrade()
    path.unlink()
    project.revision("r2", 'op.create_index_concurrently("ix", "t", ["id"])', "pass", after=None)
    with pytest.raises(PgoptError, match="its file is gone") as caught:
        project.upgrade()
    database.run(str(caught.value).split("`")[1])
    project.upgrade()


# -- roles -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def owner(database: Database) -> Engine:
    """A role that owns its tables and nothing else."""
    role = '"Owner of tables"'
    database.run(
        'do $$ begin if to_regrole(\'"Owner of tables"\') is null then create role "Owner of tables"; end if; end $$;'
        f' grant create on schema public to {role}; grant create on database "{database.name}" to {role}'
    )
    engine = database.engine(connect_args={"options": r"-c role=Owner\ of\ tables"})
    database.perform(InstallPgopt(1), engine=engine)
    database.run(
        f"create table orgs (id int primary key); insert into orgs values (1), (2); grant references on orgs to {role};"
        f" set role {role}; create table t (id int primary key, org int, v int);"
        " insert into t select g, 1, g from generate_series(1, 10) g"
    )
    return engine


def test_a_session_that_works_as_another_role_goes_on_as_it(database: Database, owner: Engine) -> None:
    database.run(
        "drop role if exists pgopt_login, pgopt_giver, pgopt_reader;"
        ' create role pgopt_login login noinherit in role "Owner of tables"; create role pgopt_giver role pgopt_login;'
        ' create role pgopt_reader; grant pgopt_giver to "Owner of tables"; alter table t add at timestamptz not null default now();'
        ' set role "Owner of tables"; alter table t drop constraint t_pkey, add primary key (id, at);'
        " grant select on t to pgopt_giver with grant option; create view seen as select v from t;"
        " set role pgopt_giver; grant select on t to pgopt_reader"
    )
    before = database.dump()
    login = create_engine(database.engine().url.set(username="pgopt_login"), poolclass=NullPool)

    @event.listens_for(login, "connect")
    def work_as_owner(connection: Any, _: object) -> None:
        connection.execute('set role "Owner of tables"')
        connection.commit()

    partitioned = PartitionTable("t", by=Monthly("at"))
    try:
        database.perform(partitioned, engine=login)
        assert (
            database.value("select relowner::regrole::text from pg_class where oid = 't'::regclass")
            == '"Owner of tables"'
        )
        database.perform(partitioned.reverse(), engine=login)
        assert database.dump() == before
    finally:
        database.run(
            "drop owned by pgopt_giver, pgopt_reader cascade; drop role pgopt_login, pgopt_giver, pgopt_reader"
        )


HIDE = "alter table t enable row level security; alter table t force row level security; create policy p on t using (false)"


def test_rows_that_a_policy_hides_are_not_left_out(database: Database, owner: Engine) -> None:
    database.run(HIDE)
    add = AddColumnOnline("t", "token", "uuid", default="gen_random_uuid()")
    for operation in (Backfill("t", {"v": "0"}), add, add):
        with pytest.raises(PgoptError, match="row-level security policy"):
            database.perform(operation, engine=owner)
    database.run("alter table t no force row level security")
    database.perform(add, engine=owner)
    assert database.value("select count(*) from t where token is null") == 0


def test_violations_that_a_policy_hides_are_not_said_to_be_none(database: Database, owner: Engine) -> None:
    database.run(HIDE)
    with pytest.raises(PgoptError, match=r"violated by some row: the rows cannot be shown .*row-level security"):
        database.perform(CreateCheckConstraintOnline("ck", "t", "v > 5"), engine=owner)
    assert database.value("select count(*) from pg_constraint where conname = 'ck'") == 0


def test_a_foreign_key_may_refer_to_the_table_of_another_role(database: Database, owner: Engine) -> None:
    before = database.dump()
    key = CreateForeignKeyOnline("fk", "t", "orgs", ["org"], ["id"])
    database.perform(key, engine=owner)
    assert database.value("select convalidated from pg_constraint where conname = 'fk'") is True
    database.perform(key.reverse(), engine=owner)
    assert database.dump() == before
    database.run("insert into t values (11, 3, 1)")
    with pytest.raises(PgoptError, match="violates foreign key constraint"):
        database.perform(key, engine=owner)
    assert database.value("select count(*) from pg_constraint where conname = 'fk'") == 0


def test_a_table_that_is_dropped_meanwhile_is_said_to_be_gone(database: Database) -> None:
    database.perform(InstallPgopt(1))
    database.run("create table t (id int primary key, v int); insert into t values (1, 1)")
    engine = database.engine()

    @event.listens_for(engine, "before_cursor_execute")
    def drop(_: object, __: object, statement: str, *___: object) -> None:
        if "reltuples" in statement:
            database.run("drop table t")

    with pytest.raises(PgoptError, match="does not exist"):
        database.perform(Backfill("t", {"v": "0"}), engine=engine)


STRANGER = '"A ""stranger"" 100%"'


@pytest.fixture
def stranger(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project whose first operation is another role's, which owns a table and knows nothing of pgopt."""
    database.run(
        f"create role {STRANGER}; create table t (id int primary key, v int); alter table t owner to {STRANGER}"
    )
    database.run(f"grant create on schema public to {STRANGER}")
    database.perform(InstallPgopt(1))
    project = Project.with_run(tmp_path, database.server.url(database.name))
    online = 'op.create_index_concurrently("ix", "t", ["v"])\nop.set_storage_parameters("t", {"fillfactor": 90})'
    project.revision("a", f"op.execute('set role {STRANGER}')\n{online}\nop.execute('reset role')")
    yield project
    database.run(f"drop owned by {STRANGER} cascade; drop role {STRANGER}")


def test_a_role_without_rights_on_the_pgopt_schema_is_told_what_to_ask_for(
    stranger: Project, database: Database
) -> None:
    before = database.dump()
    with pytest.raises(
        NotInstalled, match=r'the role "A ""stranger"" 100%" may not write to the pgopt schema'
    ) as caught:
        stranger.upgrade()
    assert "\n" not in str(caught.value)
    assert database.dump() == before
    database.run(str(caught.value).split("`")[1])
    stranger.upgrade()
    assert database.rows(FILLFACTORS) == [("public", ["fillfactor=90"])]
    assert database.rows("select chain, revision from pgopt.run") == []


def test_a_role_with_some_rights_is_told_of_the_others(stranger: Project, database: Database) -> None:
    database.run(
        f"grant usage on schema pgopt to {STRANGER}; grant all on pgopt.run, pgopt.progress to {STRANGER};"
        f" grant delete on pgopt.undo to {STRANGER}"
    )
    with pytest.raises(
        PgoptError, match=r"permission denied for table version; let the owner of the schema say `"
    ) as caught:
        stranger.upgrade()
    database.run(str(caught.value).split("`")[1])
    stranger.upgrade()
    assert database.rows(FILLFACTORS) == [("public", ["fillfactor=90"])]


@pytest.mark.parametrize("right", ["all", "usage"])
def test_what_else_is_denied_is_not_said_to_be_pgopt_s(stranger: Project, database: Database, right: str) -> None:
    database.run("alter table t owner to current_user; grant select on t to public")
    database.run(f"grant {right} on schema pgopt to {STRANGER}; grant all on all tables in schema pgopt to {STRANGER}")
    with pytest.raises(PgoptError, match=r"must be owner of table t$"):
        stranger.upgrade()


def test_an_index_that_another_role_is_building_is_left_alone(owner: Engine, database: Database) -> None:
    index = CreateIndexConcurrently("ix", "t", ["v"])
    building = "select pid from pg_stat_activity where query = 'create index concurrently ix on t (v)' and wait_event_type = 'Lock'"
    with database.connect() as old, database.connect() as other, ThreadPoolExecutor() as threads:
        old.execute("begin; insert into t values (11)")
        built = threads.submit(other.execute, "create index concurrently ix on t (v)")
        try:
            wait_until("it is being built", lambda: built.done() or database.rows(building))
            with pytest.raises(InvalidOperation, match=f"is being built by pid {other.info.backend_pid} now"):
                database.perform(index, engine=owner)
        finally:
            old.execute("rollback")
        built.result(60)
    database.perform(index, engine=owner)
    assert database.value("select indisvalid from pg_index where indexrelid = 'ix'::regclass") is True


@pytest.mark.usefixtures("owner")
def test_a_script_adds_a_foreign_key_to_the_table_of_another_role(database: Database) -> None:
    key = CreateForeignKeyOnline("fk", "t", "orgs", ["org"], ["id"])
    before = database.dump()
    database.psql('set role "Owner of tables";\n' + database.script(key))
    assert database.value("select convalidated from pg_constraint where conname = 'fk'") is True
    database.psql('set role "Owner of tables";\n' + database.script(key.reverse()))
    assert database.dump() == before


def test_who_may_make_nothing_temporary_is_told_what_to_ask_for(owner: Engine, database: Database) -> None:
    database.run(f'revoke temporary on database "{database.name}" from public')
    index = CreateIndexConcurrently("ix", "t", ["v"])
    database.perform(index, engine=owner)
    with pytest.raises(InvalidOperation, match=r": grant temporary on database \S+ to \"Owner of tables\"$") as caught:
        database.perform(index.reverse(), engine=owner)
    database.run(str(caught.value).rsplit(": ", maxsplit=1)[-1])
    database.perform(index, index.reverse(), engine=owner)
