"""The help desk's HTTP API."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from queries import CACHE_HIT, CONNECTIONS, FRESHNESS, PAGE, SIZES, STATS, Cursor, ticket_page
from sqlalchemy import create_engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Engine
    from sqlalchemy.engine import URL
    from starlette.requests import Request


def application(url: str | URL) -> Starlette:
    """Make the application for a database that is at head."""
    engine = create_engine(url, pool_size=5)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Engine]]:
        yield {"engine": engine}
        engine.dispose()

    routes = [
        Route("/tickets", tickets),
        Route("/dashboard", dashboard),
        Route("/health/database", health),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def tickets(request: Request) -> JSONResponse:
    """Give a page of an organization's tickets: `/tickets?organization=1`, then with what `next` says as `after`."""
    organization, asked = organization_of(request), request.query_params
    try:
        after = cursor_of(asked["after"]) if "after" in asked else None
    except ValueError:
        raise HTTPException(400, "say after= as a page's next said") from None
    with request.state.engine.connect() as connection:
        found = connection.execute(ticket_page(organization, after)).mappings().all()
    page = [{**row, "created_at": row["created_at"].isoformat()} for row in found[:PAGE]]
    last = found[PAGE - 1] if len(found) > PAGE else None
    return JSONResponse({"tickets": page, "next": text_of((last["created_at"], last["id"])) if last else None})


def dashboard(request: Request) -> JSONResponse:
    """Give how many tickets an organization has, as of when that is, and a warning where that was long ago."""
    with request.state.engine.connect() as connection:
        found = connection.execute(STATS, {"organization": organization_of(request)})
        tickets = {row.status: row.tickets for row in found}
        as_of = connection.execute(FRESHNESS).one()
    warning = None if as_of.is_fresh else "these figures may be outdated"
    return JSONResponse({"tickets": tickets, "as_of": as_of.fresh_at.isoformat(), "warning": warning})


def health(request: Request) -> JSONResponse:
    """Say how the database is, from the views of pgopt: `/health/database?detailed=true` with sizes."""
    with request.state.engine.connect() as connection:
        said = {
            "connections": {row.state: row.number for row in connection.execute(CONNECTIONS)},
            "cache_hit_percent": {row.kind: row.hit_percent for row in connection.execute(CACHE_HIT)},
        }
        if request.query_params.get("detailed") == "true":
            said["tables"] = {row.table_name: [row.rows, row.total_bytes] for row in connection.execute(SIZES)}
    return JSONResponse({"status": "ok", **said})


def organization_of(request: Request) -> int:
    """Read whose tickets are asked for."""
    try:
        return int(request.query_params["organization"])
    except (KeyError, ValueError):
        raise HTTPException(400, "say organization=1") from None


def text_of(cursor: Cursor) -> str:
    """Write the place of a ticket in the list so that it can stand in a URL."""
    return base64.urlsafe_b64encode(json.dumps([cursor[0].isoformat(), cursor[1]]).encode()).decode()


def cursor_of(text: str) -> Cursor:
    """Read it again; whatever else somebody wrote is a ValueError."""
    try:
        moment, number = json.loads(base64.urlsafe_b64decode(text))
        return datetime.fromisoformat(moment), int(number)
    except TypeError as error:
        raise ValueError(text) from error
