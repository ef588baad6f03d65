"""What vibing2's users spend a day, and what its projects have, summed up."""

from __future__ import annotations

from pgopt import operations as o
from pgopt import reversible

revision = "0036"
down_revision = "0035"

TOKENS = """
select "userId", timestamp::date as day, model, count(*) as requests, sum(tokens) as tokens
from vibing2."TokenUsage"
group by 1, 2, 3
"""
PROJECTS = """
select p.id as "projectId", coalesce(f.files, 0) as files, coalesce(m.messages, 0) as messages, m."lastMessageAt",
       coalesce(t.tokens, 0) as tokens
from vibing2."Project" p
left join (select "projectId", count(*) as files from vibing2."ProjectFile" group by 1) f on f."projectId" = p.id
left join (select "projectId", count(*) as messages, max("createdAt") as "lastMessageAt" from vibing2."Message" group by 1) m
    on m."projectId" = p.id
left join (select "projectId", sum(tokens) as tokens from vibing2."TokenUsage" group by 1) t on t."projectId" = p.id
"""

upgrade, downgrade = reversible(
    o.CreateMaterializedView(
        "user_token_summary",
        TOKENS,
        unique=["userId", "day", "model"],
        depends_on=["TokenUsage"],
        refresh="5 * * * *",
        schema="vibing2",
    ),
    o.CreateMaterializedView("project_stats", PROJECTS, unique=["projectId"], refresh="*/15 * * * *", schema="vibing2"),
)
