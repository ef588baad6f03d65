"""A fitness network: some users are very active, most events are of the last months."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.data.chance import Chance, Table, pair, uuid

if TYPE_CHECKING:
    from collections.abc import Sequence

USER, EVENT, WORKOUT = range(3)
EVENTS = {"workout.logged": 40, "exercise.viewed": 35, "high_five.sent": 15, "level.reached": 6, "crew.joined": 4}
STATUS = {"accepted": 80, "pending": 15, "declined": 5}
COUNTRIES = {"US": 40, "DE": 15, "GB": 12, "BR": 10, "FR": 8, "JP": 8, "SE": 4, "NZ": 3}
PATHS = {"/feed": 50, "/workouts": 25, "/inbox": 15, "/leaderboard": 10}
MUSCLES = 40


def tables(rows: int, chance: Chance) -> Sequence[Table]:
    """Give the tables of about so many rows in all."""
    users, exercises = max(20, rows // 50), max(50, rows // 100)
    conversations, crews = max(10, rows // 50), max(2, rows // 2000)

    def user() -> str:
        return uuid(USER, chance.skewed(users))

    def two(number: int) -> tuple[str, str]:
        one, other = pair(number, users)
        return uuid(USER, one), uuid(USER, other)

    def person(number: int) -> tuple[Any, ...]:
        said = (uuid(USER, number), f"user{number}", f"user{number}@example.com", f"User {number}")
        return (*said, chance.skewed(1_000_000), chance.ago(900))

    def profile(number: int) -> tuple[Any, ...]:
        ghost, opted = (chance.maybe(0.05) if chance.maybe(0.9) else None), chance.maybe(0.9)
        return uuid(USER, number), chance.one_of(COUNTRIES), chance.text(), ghost, opted

    def event(number: int) -> tuple[Any, ...]:
        payload = f'{{"title": "{chance.title()}", "xp": {chance.below(200)}}}'
        return uuid(EVENT, number), user(), chance.one_of(EVENTS), payload, chance.ago(360)

    def workout(number: int) -> tuple[Any, ...]:
        notes = chance.text() if chance.maybe(0.5) else None
        return uuid(WORKOUT, number), user(), chance.title(), chance.randint(10, 120), notes, chance.ago(700)

    def participant(number: int) -> tuple[Any, ...]:
        conversation, turn = divmod(number, 3)
        first = int(users * (conversation * 0.618034 % 1) ** 3)
        read = chance.lately(200) if chance.maybe(0.9) else None
        return 1 + conversation, uuid(USER, (first + turn * 7) % users), read, chance.maybe(0.1)

    def request(number: int) -> tuple[Any, ...]:
        status = chance.one_of({200: 95, 404: 3, 500: 2})
        return user(), "GET", chance.one_of(PATHS), status, chance.skewed(2000), chance.lately(60)

    def gained(number: int) -> tuple[Any, ...]:
        return user(), chance.randint(5, 200), "workout", chance.ago(360)

    def activation(number: int) -> tuple[Any, ...]:
        return 1 + number // 5, 1 + (number * 7 + number // 5) % MUSCLES, chance.randint(5, 100)

    def error(number: int) -> tuple[Any, ...]:
        return f"error {number % 40}", chance.text(), chance.maybe(0.7), chance.lately(120)

    connected = rows // 33
    return [
        Table("users", "id, username, email, display_name, xp, created_at", users, person),
        Table(
            "user_profile_extended", "user_id, country, bio, ghost_mode, leaderboard_opt_in", users * 4 // 5, profile
        ),
        Table("activity_events", "id, user_id, event_type, payload, created_at", rows * 9 // 20, event),
        Table("workouts", "id, user_id, title, minutes, notes, created_at", rows * 3 // 20, workout),
        Table("xp_history", "user_id, amount, reason, created_at", rows * 3 // 20, gained),
        Table("request_logs", "user_id, method, path, status, milliseconds, created_at", rows // 20, request),
        Table(
            "friendships",
            "user_a_id, user_b_id, status, created_at",
            connected,
            lambda n: (user(), user(), chance.one_of(STATUS), chance.ago(700)),
        ),
        Table(
            "mentorships",
            "mentor_id, mentee_id, status",
            connected // 10,
            lambda n: (*two(n), chance.one_of(STATUS)),
        ),
        Table("crews", "name", crews, lambda n: (f"Crew {n}",)),
        Table("crew_members", "crew_id, user_id", users // 2, lambda n: (1 + n % crews, uuid(USER, n))),
        Table("follows", "follower_id, followed_id, created_at", connected, lambda n: (*two(n), chance.ago(700))),
        Table("blocks", "blocker_id, blocked_id", connected // 50, two),
        Table("high_fives", "sender_id, receiver_id, created_at", connected, lambda n: (*two(n), chance.ago(300))),
        Table("muscles", "id, name", MUSCLES, lambda n: (1 + n, f"Muscle {n}")),
        Table("exercises", "id, name", exercises, lambda n: (1 + n, f"Exercise {n}")),
        Table("exercise_activations", "exercise_id, muscle_id, activation", exercises * 5, activation),
        Table("conversations", "created_at", conversations, lambda n: (chance.ago(700),)),
        Table(
            "conversation_participants",
            "conversation_id, user_id, last_read_at, muted",
            conversations * 3,
            participant,
        ),
        Table("tracked_errors", "message, stack, resolved, created_at", rows // 200, error),
        Table(
            "credit_ledger",
            "user_id, amount, reason, created_at",
            connected,
            lambda n: (user(), chance.randint(-50, 50), "purchase", chance.ago(700)),
        ),
        Table("credit_balances", "user_id, balance", users, lambda n: (uuid(USER, n), chance.skewed(10_000))),
    ]
