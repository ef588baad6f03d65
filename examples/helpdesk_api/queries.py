"""What the application asks its database."""

from __future__ import annotations

from datetime import datetime

from models import Ticket
from sqlalchemy import Select, text, tuple_
from sqlalchemy.sql import select

PAGE = 20

Cursor = tuple[datetime, int]


def ticket_page(organization: int, after: Cursor | None) -> Select[tuple[int, str, str, datetime]]:
    """The newest tickets of an organization, or those after the last one of another page, and one more."""
    page = select(Ticket.id, Ticket.title, Ticket.status, Ticket.created_at)
    page = page.where(Ticket.organization_id == organization)
    if after is not None:
        # a comparison of rows is a range of the index; `created_at < … or (created_at = … and id < …)` is a filter
        page = page.where(tuple_(Ticket.created_at, Ticket.id) < after)
    return page.order_by(Ticket.created_at.desc(), Ticket.id.desc()).limit(PAGE + 1)


STATS = text("select status, tickets from ticket_stats where organization_id = :organization order by status")
FRESHNESS = text(
    "select fresh_at, pgopt.is_fresh('public.ticket_stats', '5 minutes') as is_fresh"
    " from pgopt.freshness where view_name = 'ticket_stats'"
)

CONNECTIONS = text(
    "select coalesce(state, '') as state, sum(connections)::int as number from pgopt.connections group by 1"
)
CACHE_HIT = text("select kind, hit_percent::float from pgopt.cache_hit")
SIZES = text("select table_name, rows, total_bytes from pgopt.table_sizes where schema_name = 'public'")
