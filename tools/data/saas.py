"""Dashboards and transactions: three years of them, some users with hundreds of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.data.chance import Chance, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

STATUS = {"done": 45, "archived": 30, "open": 20, "blocked": 5}
KINDS = {"charge": 80, "refund": 6, "payout": 10, "fee": 4}
SETTINGS = ("theme", "language", "timezone", "digest")


def tables(rows: int, chance: Chance) -> Sequence[Table]:
    """Give the tables of about so many rows in all."""
    users, projects, tasks = max(10, rows // 100), max(20, rows // 20), rows // 5

    def person(number: int) -> tuple[Any, ...]:
        plan, created = chance.one_of({"free": 80, "pro": 17, "team": 3}), chance.ago(1000)
        return f"user{number}@example.com", f"User {number}", plan, created, chance.after(created, 300)

    def project(number: int) -> tuple[Any, ...]:
        created = chance.ago(900)
        status = "archived" if chance.maybe(0.2) else "active"
        return 1 + chance.skewed(users), f"{chance.title()} {number}", status, created, chance.after(created, 90)

    def task(number: int) -> tuple[Any, ...]:
        created = chance.ago(800)
        due = chance.after(created, 40) if chance.maybe(0.6) else None
        owner, project = 1 + chance.skewed(users), 1 + chance.skewed(projects)
        return owner, project, chance.title(), chance.one_of(STATUS), due, created

    def setting(number: int) -> tuple[Any, ...]:
        return 1 + number // len(SETTINGS) % users, SETTINGS[number % len(SETTINGS)], f'"{chance.title()}"'

    def transaction(number: int) -> tuple[Any, ...]:
        amount = f"{chance.skewed(5_000)}.{chance.below(100):02}"
        return 1 + chance.skewed(users), amount, chance.one_of(KINDS), chance.title(), chance.ago(1000)

    return [
        Table("users", "email, name, plan, created_at, updated_at", users, person),
        Table("projects", "user_id, name, status, created_at, updated_at", projects, project),
        Table("tasks", "user_id, project_id, title, status, due_at, created_at", tasks, task),
        Table("user_settings", "user_id, key, value", users * len(SETTINGS), setting),
        Table("transactions", "user_id, amount, kind, description, created_at", rows * 7 // 10, transaction),
    ]
