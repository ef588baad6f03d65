"""A help desk: most tickets are closed, a few organizations have most of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.data.chance import Chance, Table, cuid

if TYPE_CHECKING:
    from collections.abc import Sequence

ORGANIZATION, USER, TICKET, COMMENT, ATTACHMENT, CATEGORY, ARTICLE = range(7)
STATUS = {"CLOSED": 60, "RESOLVED": 20, "OPEN": 10, "IN_PROGRESS": 6, "PENDING": 4}
PRIORITY = {"MEDIUM": 55, "LOW": 25, "HIGH": 15, "URGENT": 5}
ACTIONS = {"ticket.viewed": 50, "ticket.updated": 30, "comment.created": 15, "user.login": 4, "ticket.deleted": 1}
CATEGORIES = 20


def tables(rows: int, chance: Chance) -> Sequence[Table]:
    """Give the tables of about so many rows in all."""
    organizations, users, tickets = max(3, rows // 2000), max(20, rows // 50), rows * 3 // 10
    comments, articles = rows * 2 // 5, rows // 200

    def user() -> str:
        return cuid(USER, chance.skewed(users))

    def organization(number: int) -> tuple[Any, ...]:
        return cuid(ORGANIZATION, number), f"{chance.title().title()} Ltd", f"org-{number}", chance.ago(1000)

    def person(number: int) -> tuple[Any, ...]:
        role = chance.one_of({"CUSTOMER": 80, "AGENT": 18, "ADMIN": 2})
        where = cuid(ORGANIZATION, chance.skewed(organizations))
        return cuid(USER, number), where, f"user{number}@example.com", f"User {number}", role, chance.ago(900)

    def ticket(number: int) -> tuple[Any, ...]:
        status, created = chance.one_of(STATUS), chance.ago(720)
        assignee = user() if chance.maybe(0.4 if status == "OPEN" else 0.97) else None
        responded = chance.after(created, 2) if status != "OPEN" else None
        resolved = chance.after(created, 20) if status in ("CLOSED", "RESOLVED") else None
        where = cuid(ORGANIZATION, chance.skewed(organizations))
        said = (cuid(TICKET, number), chance.title(), chance.text(), status, chance.one_of(PRIORITY), where, assignee)
        return (*said, user(), responded, resolved, created, chance.after(created, 30))

    def comment(number: int) -> tuple[Any, ...]:
        ticket = cuid(TICKET, chance.skewed(tickets))
        return cuid(COMMENT, number), ticket, user(), chance.text(), chance.maybe(0.2), chance.ago(720)

    def attachment(number: int) -> tuple[Any, ...]:
        name, ticket = f"file-{number}.png", cuid(TICKET, chance.skewed(tickets))
        said = (cuid(ATTACHMENT, number), ticket, cuid(COMMENT, chance.below(comments)), user(), name)
        return (*said, "image/png", chance.randint(1_000, 5_000_000), f"https://files.example.com/{number}")

    def article(number: int) -> tuple[Any, ...]:
        status = chance.one_of({"PUBLISHED": 70, "DRAFT": 20, "ARCHIVED": 10})
        said = (cuid(ARTICLE, number), chance.title(), f"article-{number}", f"{chance.text()} {chance.text()}", status)
        return (*said, cuid(CATEGORY, chance.skewed(CATEGORIES)), user(), chance.ago(700))

    def audit(number: int) -> tuple[Any, ...]:
        said = (chance.one_of(ACTIONS), "ticket", cuid(TICKET, chance.skewed(tickets)), user())
        metadata = f'{{"ip": "10.0.{chance.below(256)}.{chance.below(256)}"}}'
        return (*said, cuid(ORGANIZATION, chance.skewed(organizations)), metadata, chance.ago(360))

    return [
        Table("organizations", "id, name, slug, created_at", organizations, organization),
        Table("users", "id, organization_id, email, name, role, created_at", users, person),
        Table(
            "tickets",
            "id, title, description, status, priority, organization_id, assignee_id, created_by_id, first_response_at,"
            " resolved_at, created_at, updated_at",
            tickets,
            ticket,
        ),
        Table("comments", "id, ticket_id, user_id, content, is_internal, created_at", comments, comment),
        Table(
            "attachments",
            "id, ticket_id, comment_id, uploaded_by_id, filename, mime_type, size, url",
            rows // 40,
            attachment,
        ),
        Table(
            "categories", "id, name, slug", CATEGORIES, lambda n: (cuid(CATEGORY, n), f"Category {n}", f"category-{n}")
        ),
        Table("articles", "id, title, slug, content, status, category_id, author_id, updated_at", articles, article),
        Table(
            "audit_logs",
            "action, entity_type, entity_id, user_id, organization_id, metadata, created_at",
            rows // 4,
            audit,
        ),
    ]
