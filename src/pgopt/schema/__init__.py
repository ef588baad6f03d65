"""The `pgopt` schema that lives in the user's database: a folder of .sql files a version, and in it some for each family."""

from __future__ import annotations

from importlib import resources

LATEST = 1


def scripts(version: int, what: str) -> list[str]:
    """Give what is said of a version: ``up`` brings it about, ``down`` takes it back, ``unused`` asks what is still needed."""
    folder = resources.files(__name__) / f"{version:03}"
    found = sorted(
        (each for each in folder.iterdir() if each.name.endswith(f"_{what}.sql")), key=lambda each: each.name
    )
    # what was made last rests on what was made first
    return [each.read_text() for each in (found if what == "up" else reversed(found))]
