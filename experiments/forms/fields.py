"""One field of a form. Created by `introspection`, used by all other modules here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

MISSING: Final = msgspec.UNSET
"""No value, as distinct from null. Omitted when a field is sent as JSON."""


class Kind(StrEnum):
    TEXT = "text"
    SECRET = "secret"  # noqa: S105  # the name of a kind
    INTEGER = "integer"
    NUMBER = "number"
    SWITCH = "switch"
    CHOICE = "choice"
    CONSTANT = "constant"
    """One possible value, which has no input."""
    GROUP = "group"
    LIST = "list"
    VARIANT = "variant"
    """One of several fields, chosen first."""
    JSON = "json"
    """A value that the other kinds cannot show."""


@dataclass(frozen=True, slots=True)
class Choice:
    key: str
    """Value that the browser sends."""
    value: Any
    """JSON."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field. A default is JSON; items of lists and variants have no name."""

    name: str
    kind: Kind
    title: str = ""
    description: str = ""
    hints: tuple[str, ...] = ()
    """Bounds and other constraints, for display."""
    unit: str = ""
    format: str = ""
    """Format of a text in JSON schema: `date-time`, `path`."""
    placeholder: str = ""
    required: bool = False
    nullable: bool = False
    default: Any = MISSING
    choices: tuple[Choice, ...] = ()
    constant: Any = None
    fields: tuple[Field, ...] = ()
    """Fields of a group."""
    is_open: bool = False
    """True if a group accepts keys that it does not declare."""
    item: Field | None = None
    options: tuple[Field, ...] = ()
    """Options of a variant."""
    tags: tuple[str, ...] = ()
    """Names that the validator uses for this option of a variant."""
    aliases: tuple[str, ...] = ()
    """Other names that the validator may use."""
    is_long: bool = False
    is_secretive: bool = False
    """True if it contains secrets."""

    @property
    def blank(self) -> Any:
        """Value of an empty input."""
        return None if self.nullable else MISSING

    @property
    def has_toggle(self) -> bool:
        """True for a group, list or variant that may be absent."""
        return self.nullable or (not self.required and self.default is MISSING)

    def get(self, name: str) -> Field | None:
        """Find the field of a group by its name."""
        return next((field for field in self.fields if field.name == name), None)

    def choice_of(self, value: Any) -> Choice | None:
        return next((choice for choice in self.choices if same(choice.value, value)), None)


OPEN = "!more"
"""After a group's name: JSON of its undeclared keys."""
AS_JSON = "!json"
"""After any field's name: its value as JSON, instead of all its other data."""
ON = "!on"
"""After a group's name: it is present."""
ROW = "!row"
"""After a list's name: the ids of its items in their order. Ids of stored items are their old indexes."""
CHOSEN = "!is"
"""After a variant's name: the index of the option."""
EMPTY = "!empty"
"""After a text's name: an empty input is an empty text, instead of null or missing."""
AGAIN = "!again"
"""After a secret's name: it was typed, and is not sent back to the browser."""
KEEP = "!keep"
"""After a secret's name: keep it unchanged."""
DEFAULT = "!default"
"""After a secret's name: use the default instead of the stored secret."""
CLEAR = "!clear"
"""After a secret's name: make it null."""


def below(name: str, step: str) -> str:
    """Return the form name of a field below a group or a list."""
    return f"{name}.{step}"


def option_name(name: str, index: int) -> str:
    """Return the form name of an option of a variant."""
    return f"{name}!{index}"


def number(text: str, *, only_whole: bool = False) -> int | float | str:
    """Parse a typed number; return the text itself if it is not a number."""
    with contextlib.suppress(ValueError):
        return int(text)
    if not only_whole:
        with contextlib.suppress(ValueError):
            return float(text)
    return text


def same(one: Any, other: Any) -> bool:
    """Return whether both are equal as JSON: true is not 1."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def leaves(field: Field) -> Iterator[Field]:
    """Yield the field and all fields below it."""
    yield field
    inner = (*field.fields, *field.options, *((field.item,) if field.item else ()))
    for below_it in inner:
        yield from leaves(below_it)
