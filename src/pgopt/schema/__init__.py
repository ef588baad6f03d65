"""The `pgopt` schema that lives in the user's database: one pair of .sql files a version, up and down."""

from __future__ import annotations

from importlib import resources

LATEST = 1


def script(version: int, direction: str) -> str:
    """Give the SQL that brings a version about, or takes it back to the one before."""
    return (resources.files(__name__) / f"{version:03}_{direction}.sql").read_text()
