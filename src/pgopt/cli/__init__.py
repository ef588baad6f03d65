"""The `pgopt` command, and what is shown at a terminal; needs the extra `cli`."""

from __future__ import annotations
