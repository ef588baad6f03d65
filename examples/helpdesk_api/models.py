"""The tables of a help desk, and the index by which its ticket list is read."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import DateTime


class Base(DeclarativeBase):
    """The metadata that migrations are compared with."""


class Organization(Base):
    """A customer."""

    __tablename__ = "organizations"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Ticket(Base):
    """What a customer asks."""

    __tablename__ = "tickets"

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    status: Mapped[str] = mapped_column(server_default="OPEN")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


# a page of the list is one range of it, and the table itself is not read
Index(
    "ix_tickets_list",
    Ticket.organization_id,
    Ticket.created_at.desc(),
    Ticket.id.desc(),
    postgresql_include=["title", "status"],
)
