"""The rights of a role on the pgopt schema, of which nobody but its owner has any until they are granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgopt.errors import NotInstalled
from pgopt.server.queries import query
from pgopt.server.quoting import literal, sql
from pgopt.server.session import INSUFFICIENT_PRIVILEGE, server_error

if TYPE_CHECKING:
    from psycopg.sql import Composable
    from sqlalchemy.exc import DBAPIError

    from pgopt.server.session import Session

_GRANTS = """select format('let the owner of the schema say `%s` or use the owner''s role', concat_ws('; ',
    format('grant usage, create on schema pgopt to %1$I', current_user),
    format('grant all on all tables in schema pgopt to %1$I', current_user),
    format('grant all on all routines in schema pgopt to %1$I', current_user)))"""


# the server names the type, in the words of whichever language
_TYPES = """select 'let its owner say `' || string_agg(format('grant usage on type %s to %I', t.oid::regtype, current_user), '; ') || '`'
    from pg_type t where not has_type_privilege(t.oid, 'USAGE') and strpos({message} || ' ', ' ' || t.oid::regtype || ' ') > 0"""


def journal() -> Composable:
    """Ask whether there is a journal: nothing is said where it is there and not for us."""
    return query("journal")


def usable(session: Session, there: bool | None) -> bool:  # noqa: FBT001
    """Read the answer, and refuse where a revision could not write down what it has begun."""
    if there is None:
        role = session.value("select quote_ident(current_user)")
        raise NotInstalled(
            f"the role {role} may not write to the pgopt schema, in which is kept what a revision has begun: {session.value(_GRANTS)}"
        )
    return there


def way_out(session: Session, error: DBAPIError) -> str | None:
    """Tell what to grant, where the server has refused something in the pgopt schema, or a type that a copy of columns needs."""
    said = server_error(error)
    if said.code != INSUFFICIENT_PRIVILEGE or not session.alive:
        return None
    denied = session.value(query("denied", message=literal(said.message)))
    if denied:
        return str(session.value(_GRANTS))
    said_of_type: str | None = session.value(sql(_TYPES, message=literal(said.message)))
    return said_of_type
