"""Primary keys that come from a query string or a form."""

from __future__ import annotations

DIGITS_MAX = 18
"""A number of as many digits fits into 64 bits."""


def row_id(text: str | None) -> int | None:
    """The primary key that `text` writes; None for anything else."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX else None


def row_ids(text: str, limit: int) -> list[int]:
    """The primary keys in a list with commas, each once, in its order; anything else in it is passed over."""
    ids = (row_id(part) for part in text[: (DIGITS_MAX + 1) * limit].split(","))
    return list(dict.fromkeys(pk for pk in ids if pk is not None))[:limit]
