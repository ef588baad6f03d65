"""All that is asked of PostgreSQL, or sent to it; knows nothing of operations."""
