"""Fills a relation from another while both live, and lets it take the other's place with all that belongs to it."""
