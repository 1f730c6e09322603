"""Parse primary keys from a query string, a form or a command."""

from __future__ import annotations

DIGITS_MAX = 18
"""Any number of this many digits fits into 64 bits."""


def row_id(text: str | None) -> int | None:
    """Parse a primary key; None for anything else."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX else None


def row_ids(text: str, limit: int) -> list[int]:
    """Parse primary keys separated by commas, each once, in order. Anything else is ignored."""
    ids = (row_id(part) for part in text[: (DIGITS_MAX + 1) * limit].split(","))
    return list(dict.fromkeys(pk for pk in ids if pk is not None))[:limit]
