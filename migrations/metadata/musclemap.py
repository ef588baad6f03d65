"""The tables of musclemap at head."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(schema="musclemap")

Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("username", Text, nullable=False, unique=True),
    Column("email", Text, nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("xp", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("country", String(2)),
    Column("ghost_mode", Boolean),
    Column("leaderboard_opt_in", Boolean),
    Index(
        "idx_users_leaderboard",
        text("xp DESC"),
        postgresql_include=["id", "username", "country"],
        postgresql_where=text("(leaderboard_opt_in AND (NOT ghost_mode))"),
    ),
)

Table(
    "user_profile_extended",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("country", String(2)),
    Column("bio", Text),
    Column("ghost_mode", Boolean),
    Column("leaderboard_opt_in", Boolean),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

Table(
    "friendships",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_a_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("user_b_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("status", String(10), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index(
        "idx_friendships_user_status",
        "user_a_id",
        "status",
        postgresql_include=["user_b_id"],
        postgresql_where=text("((status)::text = 'accepted'::text)"),
    ),
    Index(
        "idx_friendships_reverse_status",
        "user_b_id",
        "status",
        postgresql_include=["user_a_id"],
        postgresql_where=text("((status)::text = 'accepted'::text)"),
    ),
)

Table(
    "mentorships",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("mentor_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("mentee_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("status", String(10), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("idx_mentorships_mentor_status", "mentor_id", "status"),
    Index("idx_mentorships_mentee_status", "mentee_id", "status"),
)

Table(
    "crews",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

Table(
    "crew_members",
    metadata,
    Column("crew_id", BigInteger, ForeignKey("crews.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("role", String(10), nullable=False),
    Column("joined_at", DateTime(timezone=True), nullable=False),
    Index("idx_crew_members_user_crew", "user_id", "crew_id"),
)

Table(
    "follows",
    metadata,
    Column("follower_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("followed_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("idx_follows_followed", "followed_id", text("created_at DESC")),
)

Table(
    "blocks",
    metadata,
    Column("blocker_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("blocked_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("idx_blocks_blocked", "blocked_id"),
)

Table(
    "high_fives",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("sender_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("receiver_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("idx_high_fives_receiver", "receiver_id", text("created_at DESC")),
    Index("idx_high_fives_sender", "sender_id", text("created_at DESC")),
)

Table(
    "muscles",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
)

Table(
    "exercises",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
)

Table(
    "exercise_activations",
    metadata,
    Column("exercise_id", Integer, ForeignKey("exercises.id", ondelete="CASCADE"), primary_key=True),
    Column("muscle_id", Integer, ForeignKey("muscles.id", ondelete="CASCADE"), primary_key=True),
    Column("activation", SmallInteger, nullable=False),
    Index("idx_exercise_activations_muscle", "muscle_id", text("activation DESC"), postgresql_include=["exercise_id"]),
)

Table(
    "conversations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

Table(
    "conversation_participants",
    metadata,
    Column("conversation_id", BigInteger, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("last_read_at", DateTime(timezone=True)),
    Column("muted", Boolean, nullable=False),
    Column("joined_at", DateTime(timezone=True), nullable=False),
    Index(
        "idx_conversation_participants_user_unread",
        "user_id",
        "last_read_at",
        postgresql_include=["conversation_id", "muted"],
    ),
)

Table(
    "workouts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("title", Text, nullable=False),
    Column("minutes", SmallInteger, nullable=False),
    Column("notes", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("idx_workouts_user", "user_id"),
    Index("idx_workouts_user_keyset", "user_id", text("created_at DESC"), text("id DESC")),
)

Table(
    "tracked_errors",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("message", Text, nullable=False),
    Column("stack", Text),
    Column("resolved", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("idx_tracked_errors_created", "created_at"),
)

Table(
    "credit_ledger",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("amount", Integer, nullable=False),
    Column("reason", String(40), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("idx_credit_ledger_created", "created_at"),
)

Table(
    "credit_balances",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("balance", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
)

Table(
    "activity_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("event_type", String(40), nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), primary_key=True),
    Index("idx_activity_events_created", "created_at"),
    Index("idx_activity_events_type", "event_type"),
    Index("idx_activity_events_user", "user_id"),
    Index("idx_activity_events_user_keyset", "user_id", text("created_at DESC"), text("id DESC")),
    Index("idx_activity_events_user_type_keyset", "user_id", "event_type", text("created_at DESC"), text("id DESC")),
)

Table(
    "request_logs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", Uuid),
    Column("method", String(8), nullable=False),
    Column("path", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("milliseconds", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), primary_key=True),
)

Table(
    "xp_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("amount", Integer, nullable=False),
    Column("reason", String(40), nullable=False),
    Column("created_at", DateTime(timezone=True), primary_key=True),
    Index("idx_xp_history_user", "user_id"),
)

Table(
    "credit_ledger_archive",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", Uuid, nullable=False),
    Column("amount", Integer, nullable=False),
    Column("reason", String(40), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
