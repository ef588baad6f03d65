"""What MERGE tells statement triggers of a partitioned table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.server.quoting import sql

if TYPE_CHECKING:
    from psycopg.sql import Composable

    from pgopt.server.objects import Relation


def have_updates_told(table: Relation, trigger: Composable, function: Composable) -> Composable:
    """Have PostgreSQL tell which rows MERGE has updated in partitions; SHARE ROW EXCLUSIVE on all of them.

    After a row that it has inserted it tells that one again for each that it updates, but where partitions have a trigger
    before their rows. This one never fires.
    """
    text = "create trigger {} before insert on {} for each row when (false) execute function {}()"
    return sql(text, trigger, table.ident, function)
