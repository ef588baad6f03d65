"""The slow queries that the plans of the reference chain name, with what each plan claims."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import applications as does
from tools.data import insightdesk, musclemap, proposals, vibing2
from tools.data.chance import cuid, uuid

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Connection = psycopg.Connection[Any]

AGENT = cuid(insightdesk.USER, 3)
ORGANIZATION = cuid(insightdesk.ORGANIZATION, 0)
ATHLETE = uuid(musclemap.USER, 1)
CUSTOMER = cuid(proposals.CUSTOMER, 3)
ANALYST = cuid(proposals.USER, 3)
OWNER = cuid(vibing2.USER, 3)
SPENDER = cuid(vibing2.USER, 3)


@dataclass(frozen=True)
class Query:
    """A statement, and what it is given: values, and a row that another query finds beforehand."""

    system: str
    name: str
    text: str
    claim: str = ""
    goal: float | None = None
    values: dict[str, Any] = field(default_factory=dict)
    cursor: str = ""
    index: str = ""
    """The index that it is meant to use, at head."""
    limit: float | None = None
    """The milliseconds that it may take at head."""
    instead: str = ""
    """What is asked at head, where that is another statement."""

    def statement(self, *, after: bool) -> bytes:
        """Give what is asked."""
        return (self.instead if after and self.instead else self.text).encode()

    def given(self, connection: Connection) -> dict[str, Any]:
        """Find what the statement is given."""
        found = connection.execute(self.cursor.encode(), self.values) if self.cursor else None
        row = found.fetchone() if found else None
        names = [each.name for each in found.description or ()] if found else []
        return {**self.values, **dict(zip(names, row or [None] * len(names), strict=True))}

    def work(self, connection: Connection, *, after: bool) -> Callable[[], object]:
        """Give what is measured."""
        given = self.given(connection)
        return lambda: connection.execute(self.statement(after=after), given).fetchall()

    def beside(self, connection: Connection) -> AbstractContextManager[object]:  # noqa: ARG002
        """Do what goes on while it is measured, or was done before each time, and is not measured itself."""
        return nullcontext()


@dataclass(frozen=True)
class RoundTrips(Query):
    """Many statements of an application before, and few of them after; they are in the code."""

    before: Callable[[Connection], object] = print
    then: Callable[[Connection], object] = print
    others: Callable[[Connection], AbstractContextManager[object]] = nullcontext

    def work(self, connection: Connection, *, after: bool) -> Callable[[], object]:
        """Give what is measured."""
        return lambda: (self.then if after else self.before)(connection)

    def beside(self, connection: Connection) -> AbstractContextManager[object]:
        """Do what others do meanwhile."""
        return self.others(connection)


# -- the queries ---------------------------------------------------------------------------------------------------------

TICKETS = "select id, title, status, priority, assignee_id, created_at from insightdesk.tickets"
BY_DAY = (
    "select date_trunc('day', created_at) as day, count(*), sum(amount), avg(amount) from saas.transactions"
    " where created_at > now() - interval '365 days' group by 1 order by day desc"
)
ANALYTICS = (
    "select date_trunc('day', created_at, 'UTC') as date, status, count(*), avg(value), sum(value),"
    " avg(extract(epoch from coalesce(approved_at, now()) - created_at) / 3600)"
    " from proposals.proposals group by 1, 2 order by 1 desc, 2"
)
STATS = (
    "select (created_at at time zone 'UTC')::date as date, status, priority, count(*), avg(extract(epoch from resolved_at - created_at))"
    " from insightdesk.tickets where organization_id = %(organization)s and created_at >= current_date - 90"
    " group by 1, 2, 3 order by 1 desc"
)
NEWEST = "order by created_at desc, id desc limit 20"

QUERIES: tuple[Query, ...] = (
    Query(
        "insightdesk",
        "ticket list",
        "select t.*, u.name from insightdesk.tickets t left join insightdesk.users u on t.assignee_id = u.id"
        " where t.organization_id = %(organization)s and t.status in ('OPEN', 'IN_PROGRESS')"
        " order by t.created_at desc limit 20",
        values={"organization": ORGANIZATION},
    ),
    Query(
        "insightdesk",
        "page of all tickets",
        f"{TICKETS} where (created_at, id) < (%(created_at)s, %(id)s) {NEWEST}",
        cursor="select created_at, id from insightdesk.tickets order by created_at desc, id desc"
        " offset (select count(*) / 2 from insightdesk.tickets) limit 1",
        index="idx_tickets_keyset",
    ),
    Query(
        "insightdesk",
        "page of an organization's",
        f"{TICKETS} where organization_id = %(organization)s and (created_at, id) < (%(created_at)s, %(id)s) {NEWEST}",
        values={"organization": ORGANIZATION},
        cursor="select created_at, id from insightdesk.tickets where organization_id = %(organization)s"
        " order by created_at desc, id desc offset 1000 limit 1",
        index="idx_tickets_org_keyset",
    ),
    Query(
        "insightdesk",
        "unassigned tickets",
        f"{TICKETS} where organization_id = %(organization)s and assignee_id is null and status = 'OPEN'"
        " order by priority desc, created_at desc limit 20",
        values={"organization": ORGANIZATION},
        index="idx_unassigned_tickets",
    ),
    Query(
        "insightdesk",
        "full-text search",
        "select id, title from insightdesk.tickets where to_tsvector('english', title || ' ' || coalesce(description, ''))"
        " @@ websearch_to_tsquery('english', 'billing crash dashboard export') limit 20",
        index="idx_tickets_search",
    ),
    Query(
        "insightdesk",
        "dashboard of 90 days",
        STATS,
        values={"organization": ORGANIZATION},
        instead="select date, status, priority, ticket_count, avg_resolution_seconds from insightdesk.mv_dashboard_stats"
        " where organization_id = %(organization)s order by date desc",
    ),
    Query(
        "insightdesk",
        "audit log of a month",
        "select action, count(*) from insightdesk.audit_logs where created_at >= date_trunc('month', now()) - interval '2 months'"
        " and created_at < date_trunc('month', now()) - interval '1 month' group by action",
    ),
    RoundTrips(
        "saas",
        "dashboard, N+1",
        f"{1 + 3 * does.PAGE_OF_USERS} statements, then 4",
        "15,000 → 200 ms",
        75,
        before=does.dashboard_by_user,
        then=does.dashboard_at_once,
    ),
    Query(
        "saas",
        "365 days by day",
        BY_DAY,
        "35,000 ms → ?",
    ),
    Query(
        "saas",
        "365 days by day, summed up",
        BY_DAY,
        "35,000 ms → ?",
        instead="select day, transactions, total, average from saas.transactions_daily_mv where day > current_date - 365"
        " order by day desc",
    ),
    Query(
        "musclemap",
        "activity feed",
        "select id, payload, created_at from musclemap.activity_events where user_id = %(user)s"
        # the column alone, by which partitions are left out: a row comparison does not do that
        " and event_type = 'workout.logged' and created_at <= %(created_at)s"
        f" and (created_at, id) < (%(created_at)s, %(id)s) {NEWEST}",
        "150 → 30 ms",
        5,
        values={"user": ATHLETE},
        cursor="select created_at, id, created_at - interval '2 months' as since from musclemap.activity_events where user_id = %(user)s"
        " and event_type = 'workout.logged' order by created_at desc, id desc offset 20 limit 1",
        # who says how far back a page may reach has no other partitions planned; one that comes out short asks again without
        instead="select id, payload, created_at from musclemap.activity_events where user_id = %(user)s"
        " and event_type = 'workout.logged' and created_at <= %(created_at)s and created_at > %(since)s"
        f" and (created_at, id) < (%(created_at)s, %(id)s) {NEWEST}",
        index="idx_activity_events_user_type_keyset",
    ),
    Query(
        "musclemap",
        "workout history",
        "select id, title, minutes, created_at from musclemap.workouts where user_id = %(user)s"
        f" and (created_at, id) < (%(created_at)s, %(id)s) {NEWEST}",
        "80 → 20 ms",
        4,
        values={"user": ATHLETE},
        cursor="select created_at, id from musclemap.workouts where user_id = %(user)s"
        " order by created_at desc, id desc offset 20 limit 1",
        index="idx_workouts_user_keyset",
    ),
    Query(
        "musclemap",
        "inbox",
        "select conversation_id, muted, last_read_at from musclemap.conversation_participants where user_id = %(user)s"
        " order by last_read_at limit 50",
        "120 → 40 ms",
        3,
        values={"user": ATHLETE},
        index="idx_conversation_participants_user_unread",
    ),
    Query(
        "musclemap",
        "friends",
        "select user_b_id from musclemap.friendships where user_a_id = %(user)s and status = 'accepted'"
        " union all select user_a_id from musclemap.friendships where user_b_id = %(user)s and status = 'accepted'",
        "3 to 10 times faster",
        3,
        values={"user": ATHLETE},
    ),
    Query(
        "musclemap",
        "exercises of a muscle",
        "select exercise_id, activation from musclemap.exercise_activations where muscle_id = 7"
        " order by activation desc limit 20",
        "“instant”",
        index="idx_exercise_activations_muscle",
    ),
    RoundTrips(
        "musclemap",
        "leaderboard refresh",
        f"of all places, then of each hundredth, after {does.A_SECOND * does.EVERY:,} writes",
        "2 times faster",
        2,
        before=does.refresh_all_places,
        then=does.refresh_each_hundredth,
        others=does.after_writes,
    ),
    RoundTrips(
        "musclemap",
        "leaderboard refresh beside writes",
        f"the same, beside {does.A_SECOND} writes a second",
        "5 min → < 30 s stale: every 20 s",
        # with what is between two
        limit=10_000,
        before=does.refresh_all_places,
        then=does.refresh_each_hundredth,
        others=does.beside_writes,
    ),
    Query(
        "musclemap",
        "leaderboard, the first 20",
        "select user_id, username, country, xp, rank from musclemap.mv_xp_rankings order by rank limit 20",
        instead="select user_id, username, country, xp, rank from musclemap.leaderboard order by xp desc limit 20",
    ),
    Query(
        "musclemap",
        "leaderboard, one's own place",
        "select xp, rank from musclemap.mv_xp_rankings where user_id = %(user)s",
        # in the lower half, or whoever counts from the top would have an easy life
        cursor="select id as user from musclemap.users u join musclemap.user_profile_extended p on user_id = id"
        " where p.leaderboard_opt_in and not p.ghost_mode order by xp desc, id offset (select count(*) / 2 from musclemap.users) limit 1",
        instead="select xp, rank from musclemap.leaderboard where user_id = %(user)s",
    ),
    RoundTrips(
        "musclemap",
        "a user's experience is written",
        "one UPDATE, before and after",
        before=does.write_experience,
        then=does.write_experience,
    ),
    Query(
        "proposals",
        "list by status",
        "select id, title, value, created_at from proposals.proposals where status = 'SUBMITTED'"
        " and customer_id = %(customer)s order by created_at desc limit 20",
        "50 to 70 % off; < 50 ms",
        2,
        limit=50,
        values={"customer": CUSTOMER},
        index="idx_proposal_status_customer_created",
    ),
    Query(
        "proposals",
        "hypotheses measured",
        "select count(*), avg(actual_value - target_value) from proposals.hypothesis_validation_events"
        " where hypothesis = 'H5' and user_id = %(user)s and actual_value is not null",
        "50 to 70 % off; < 50 ms",
        2,
        limit=50,
        values={"user": ANALYST},
        index="idx_hypothesis_validation_compound",
    ),
    Query(
        "proposals",
        "analytics by day and status",
        ANALYTICS,
        "50 to 70 % off; < 50 ms",
        2,
        limit=50,
        instead="select * from proposals.proposal_analytics_summary order by date desc, status",
    ),
    Query(
        "proposals",
        "content search",
        "select id, title from proposals.content where type = 'TEMPLATE' and is_active and category = 'category 3'"
        " order by created_at desc limit 20",
        "50 to 70 % off; < 50 ms",
        2,
        limit=50,
        index="idx_content_search_optimization",
    ),
    Query(
        "proposals",
        "open issues",
        "select id, message from proposals.validation_issues where entity_type = 'proposal' and severity = 'CRITICAL'"
        " and status = 'OPEN' order by detected_at desc limit 20",
        "50 to 70 % off; < 50 ms",
        2,
        limit=50,
        index="idx_validation_issues_entity_severity_status",
    ),
    Query(
        "vibing2",
        "project list",
        'select id, name, "updatedAt" from vibing2."Project" where "userId" = %(user)s order by "updatedAt" desc limit 20',
        "450 → 25 ms",
        18,
        values={"user": OWNER},
        index="idx_project_user_updated",
    ),
    RoundTrips(
        "vibing2",
        "file operations, batched",
        f"{does.FILES} commits of an ORM's session, then one insert of a list",
        "2,000 → 150 ms",
        13,
        before=does.files_one_by_one,
        then=does.files_at_once,
    ),
    RoundTrips(
        "vibing2",
        "file operations without an ORM",
        f"{does.FILES} statements of the driver, then one COPY",
        before=does.statements_one_by_one,
        then=does.copied_at_once,
    ),
    Query(
        "vibing2",
        "message pagination",
        'select id, role, content, "createdAt" from vibing2."Message" where "projectId" = %(project)s'
        ' and ("createdAt", id) < (%(created)s, %(id)s) order by "createdAt" desc, id desc limit 50',
        "350 → 45 ms",
        8,
        values={"project": does.LONG_PROJECT},
        cursor='select "createdAt" as created, id from vibing2."Message" where "projectId" = %(project)s'
        ' order by "createdAt" desc, id desc offset 100 limit 1',
        index="idx_message_project_cursor",
    ),
    Query(
        "vibing2",
        "public discovery",
        """select id, name, likes from vibing2."Project" where visibility = 'public' order by likes desc limit 20""",
        "800 → 120 ms",
        6,
        index="idx_project_visibility_likes",
    ),
    Query(
        "vibing2",
        "token analytics",
        "select date_trunc('day', timestamp) as day, endpoint, sum(tokens) from vibing2.\"TokenUsage\""
        " where \"userId\" = %(user)s and timestamp > now() - interval '30 days' group by 1, 2 order by 1 desc",
        "1,200 → 200 ms",
        6,
        values={"user": SPENDER},
        index="idx_token_usage_user_timestamp_desc",
    ),
)
