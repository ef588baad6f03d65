"""What the plans do by the week: statistics, an index of tickets made anew, and room in pg_stat_statements."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0037"
down_revision = "0036"

# wherever the extension is, if it is; a table that is not full forgets nothing, and is left
MAKE_ROOM = """
do $$
declare
    place text := (select extnamespace::regnamespace from pg_extension where extname = 'pg_stat_statements');
begin
    if exists (select from pgopt.slow_queries_state() where state = 'full') then
        execute format('select %s.pg_stat_statements_reset()', place);
    end if;
end
$$
"""

upgrade, downgrade = reversible(
    o.ScheduleJob(
        "reindex insightdesk",
        "reindex index concurrently insightdesk.idx_tickets_org_status_created",
        cron="30 2 * * 0",
    ),
    # autovacuum never analyzes a partitioned table as a whole
    o.ScheduleJob(
        "analyze insightdesk, musclemap",
        "analyze insightdesk.audit_logs, musclemap.activity_events, musclemap.request_logs, musclemap.xp_history",
        cron="0 4 * * 0",
    ),
    o.ScheduleJob(
        "analyze vibing2",
        'analyze vibing2."Project", vibing2."ProjectFile", vibing2."Message", vibing2."TokenUsage"',
        cron="15 4 * * 0",
    ),
    o.ScheduleJob(
        "vacuum vibing2", 'vacuum vibing2."Project", vibing2."Message", vibing2."TokenUsage"', cron="30 4 1 * *"
    ),
    o.ScheduleJob("room for slow queries", MAKE_ROOM.strip(), cron="0 5 * * 0"),
)
