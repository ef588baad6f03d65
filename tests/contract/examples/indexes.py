"""Indexes, on tables as people have them."""

from __future__ import annotations

from pgopt.operations import CreateIndexConcurrently

from tests.contract.examples.base import Example

TICKETS = """
create table tickets (id bigint generated always as identity primary key, title text not null, status text not null,
                      organization_id int, assignee_id int, created_at timestamptz not null default now());
insert into tickets (title, status, organization_id) select 'ticket ' || g, 'OPEN', g % 7 from generate_series(1, 500) g;
"""

WRITES = "insert into tickets (title, status, organization_id) values ('new {n}', 'OPEN', {n})"

EXAMPLES = [
    Example(
        "plain index",
        TICKETS,
        CreateIndexConcurrently("ix_tickets_status", "tickets", ["status"]),
        writes=WRITES,
        named=True,
    ),
]
