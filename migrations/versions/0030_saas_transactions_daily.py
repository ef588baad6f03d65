"""The transactions of saas by day, summed up once and not at each look."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0030"
down_revision = "0029"

DAILY = """
select (created_at at time zone 'UTC')::date as day, count(*) as transactions, sum(amount) as total, avg(amount) as average
from saas.transactions
group by 1
"""

upgrade, downgrade = reversible(
    o.CreateMaterializedView("transactions_daily_mv", DAILY, unique=["day"], refresh="*/15 * * * *", schema="saas"),
    # which was there before
    o.ScheduleJob(
        "saas dashboard", "call pgopt.refresh_all(array['saas.dashboard_summary_mv']::regclass[])", cron="*/2 * * * *"
    ),
)
