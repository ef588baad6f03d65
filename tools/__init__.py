"""What the Makefile and .ci/run use."""

from __future__ import annotations
