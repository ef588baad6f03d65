"""An AI code platform: a few projects are public and popular, some have thousands of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.data.chance import Chance, Table, cuid, pair

if TYPE_CHECKING:
    from collections.abc import Sequence

USER, PROJECT, FILE, MESSAGE, USAGE, COLLABORATOR, LIKE, DEPLOYMENT, ACCOUNT, SESSION, VERIFICATION = range(11)
TYPES = {"web": 50, "api": 20, "game": 15, "mobile": 10, "cli": 5}
LANGUAGES = {"typescript": 45, "css": 20, "html": 15, "python": 12, "json": 8}
MODELS = {"small": 60, "medium": 30, "large": 10}
ENDPOINTS = {"/chat": 70, "/complete": 20, "/review": 10}


def tables(rows: int, chance: Chance) -> Sequence[Table]:
    """Give the tables of about so many rows in all."""
    users, projects = max(20, rows // 100), max(20, rows // 10)

    def user() -> str:
        return cuid(USER, chance.skewed(users))

    def project() -> str:
        return cuid(PROJECT, chance.skewed(projects))

    def person(number: int) -> tuple[Any, ...]:
        plan = chance.one_of({"free": 85, "pro": 12, "team": 3})
        password = f"$2b$12${cuid(USER, number) * 2}"
        return cuid(USER, number), f"user{number}@example.com", password, f"User {number}", plan, chance.ago(700)

    def made(number: int) -> tuple[Any, ...]:
        created, public = chance.ago(600), chance.maybe(0.25)
        forked = cuid(PROJECT, chance.skewed(number)) if number and chance.maybe(0.1) else None
        said = (cuid(PROJECT, number), user(), forked, f"{chance.title()} {number}", chance.text())
        liked = chance.skewed(2000) if public else 0
        counted = (liked, liked // 10, liked * 20 + chance.below(50))
        visibility = "public" if public else "private"
        return (
            *said,
            chance.one_of(TYPES),
            visibility,
            chance.maybe(0.01),
            *counted,
            created,
            chance.after(created, 90),
        )

    def file(number: int) -> tuple[Any, ...]:
        language, created = chance.one_of(LANGUAGES), chance.ago(600)
        said = (cuid(FILE, number), project(), f"src/{number}.{language}", language, f"{chance.text()} {chance.text()}")
        return (*said, created, chance.after(created, 60))

    def message(number: int) -> tuple[Any, ...]:
        return cuid(MESSAGE, number), project(), ("user", "assistant")[number % 2], chance.text(), chance.ago(600)

    def usage(number: int) -> tuple[Any, ...]:
        said = (cuid(USAGE, number), user(), project(), chance.one_of(ENDPOINTS), chance.one_of(MODELS))
        return (*said, 1 + chance.skewed(8000), chance.ago(360))

    def account(number: int) -> tuple[Any, ...]:
        return cuid(ACCOUNT, number), cuid(USER, number), "github", str(number)

    def session(number: int) -> tuple[Any, ...]:
        return cuid(SESSION, number), f"session {cuid(SESSION, number)}", user(), chance.ago(30)

    def collaborator(number: int) -> tuple[Any, ...]:
        where, who = pair(number, users)
        return cuid(COLLABORATOR, number), cuid(PROJECT, where), cuid(USER, who), "editor", cuid(USER, where)

    def like(number: int) -> tuple[Any, ...]:
        who, where = pair(number, users)
        return cuid(LIKE, number), cuid(PROJECT, where), cuid(USER, who), chance.ago(300)

    return [
        Table('"User"', 'id, email, password, name, plan, "createdAt"', users, person),
        Table('"Account"', 'id, "userId", provider, "providerAccountId"', users // 2, account),
        Table('"Session"', 'id, "sessionToken", "userId", expires', users, session),
        Table(
            '"VerificationToken"',
            "identifier, token, expires",
            users // 10,
            lambda n: (f"user{n}@example.com", cuid(VERIFICATION, n), chance.ago(3)),
        ),
        Table(
            '"Project"',
            'id, "userId", "forkedFromId", name, description, type, visibility, featured, likes, forks, views,'
            ' "createdAt", "updatedAt"',
            projects,
            made,
        ),
        Table('"ProjectFile"', 'id, "projectId", path, language, content, "createdAt", "updatedAt"', rows // 4, file),
        Table('"Message"', 'id, "projectId", role, content, "createdAt"', rows * 3 // 10, message),
        Table('"TokenUsage"', 'id, "userId", "projectId", endpoint, model, tokens, timestamp', rows // 4, usage),
        Table('"ProjectCollaborator"', 'id, "projectId", "userId", role, "invitedById"', users, collaborator),
        Table('"ProjectLike"', 'id, "projectId", "userId", "createdAt"', rows // 40, like),
        Table(
            '"Deployment"',
            'id, "projectId", status, url, "createdAt"',
            rows // 50,
            lambda n: (cuid(DEPLOYMENT, n), project(), "ready", f"https://{n}.example.com", chance.ago(300)),
        ),
    ]
