"""The tables of a leaderboard."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The metadata that migrations are compared with."""


class Player(Base):
    """Who plays, and with how much success."""

    __tablename__ = "players"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    points: Mapped[int] = mapped_column(BigInteger, server_default="0")
    # what the profile says: triggers write these, nobody else
    country: Mapped[str | None] = mapped_column(String(2))
    hidden: Mapped[bool | None] = mapped_column(server_default="false")


class Profile(Base):
    """What a player tells of itself; there need not be one."""

    __tablename__ = "profiles"

    player_id: Mapped[int] = mapped_column(ForeignKey("players.id", ondelete="CASCADE"), primary_key=True)
    country: Mapped[str | None] = mapped_column(String(2))
    hidden: Mapped[bool] = mapped_column(server_default="false")
