"""Decode what a browser sent into a configuration. Pure; any data gives some configuration, which is then validated.

Text that is not a valid number stays as it is, so that validation reports it. Empty fields are omitted, so that
their default applies, or null if the field is nullable. Fields that the browser did not send are omitted too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.forms.encoding import option_of
from experiments.forms.fields import (
    AGAIN,
    AS_JSON,
    CHOSEN,
    CLEAR,
    DEFAULT,
    EMPTY,
    KEEP,
    MISSING,
    ON,
    OPEN,
    ROW,
    Field,
    Kind,
    below,
    number,
    option_name,
)
from experiments.forms.keeping import ENTER_AGAIN, Kept, settled, settled_model, unmasked

Sent = Mapping[str, Sequence[str]]
"""Name of an input → its values."""

TYPE_AGAIN = "Enter it again: secrets are not sent back to the browser. Or check the box below to discard it."
JSON_MAX_CHARS = 1_000_000


@dataclass
class Decoded:
    """Decoded configuration, and problems with values that could not be read."""

    configuration: Any = None
    problems: dict[str, str] = dataclasses.field(default_factory=dict)
    """Name in the form → message."""


def decode(root: Field, data: Sent, name: str, stored: Any = MISSING) -> Decoded:
    """Decode a form. `stored`: the configuration that the form shows; empty secrets are taken from it.

    A secret is kept only if the rest of its model is unchanged; otherwise it is a problem.
    """
    decoder = _Decoder(data)
    try:
        value = decoder.kept(*settled_model(root, decoder.value(root, name, stored), stored))
    except RecursionError:
        return Decoded({}, {name: "Nested too deeply."})
    return Decoded({} if value is MISSING else value, decoder.problems)


class _Decoder:
    """Each reader receives the field, its name in the form, and the stored value at its place."""

    def __init__(self, data: Sent) -> None:
        self._data = data
        self.problems: dict[str, str] = {}

    def value(self, field: Field, name: str, stored: Any) -> Any:
        if name + AS_JSON in self._data:
            return self._json(field, name + AS_JSON, name, stored)
        reader = _READERS.get(field.kind)
        return reader(self, field, name, stored) if reader else MISSING

    def kept(self, value: Any, refused: Sequence[Kept]) -> Any:
        """Return a settled value, and record a problem for each secret that it may not keep."""
        for each in refused:
            self.problems.setdefault(each.place, f"{each.path}: {ENTER_AGAIN}" if each.path else ENTER_AGAIN)
        return value

    def _constant(self, field: Field, _name: str, _stored: Any) -> Any:
        return field.constant

    def _switch(self, _field: Field, name: str, _stored: Any) -> Any:
        return self._is_on(name) if name in self._data else MISSING

    def _last(self, name: str) -> str:
        values = self._data.get(name) or ("",)
        return values[-1]

    def _is_on(self, name: str) -> bool:
        return self._last(name) == "on"

    def _number(self, field: Field, name: str, _stored: Any) -> Any:
        if name not in self._data:
            return MISSING
        text = self._last(name).strip()
        return number(text, only_whole=field.kind == Kind.INTEGER) if text else field.blank

    def _choice(self, field: Field, name: str, _stored: Any) -> Any:
        if name not in self._data:
            return MISSING
        key = self._last(name)
        chosen = next((choice for choice in field.choices if choice.key == key), None)
        return chosen.value if chosen else key or field.blank

    def _text(self, field: Field, name: str, _stored: Any) -> Any:
        if name not in self._data:
            return MISSING
        if text := self._last(name).replace("\r\n", "\n"):
            return text
        is_text = self._is_on(name + EMPTY) or not (field.nullable or field.default is MISSING)
        return "" if is_text else field.blank

    def _secret(self, field: Field, name: str, stored: Any) -> Any:
        if text := self._last(name):
            return text
        if self._is_on(name + AGAIN) and not self._is_on(name + KEEP):
            self.problems[name] = TYPE_AGAIN
        if field.nullable and self._is_on(name + CLEAR):
            return None
        if stored is None and field.nullable:
            return None
        return Kept(stored, name) if isinstance(stored, str) and not self._is_on(name + DEFAULT) else MISSING

    def _json(self, field: Field, source: str, name: str, stored: Any) -> Any:
        text = self._last(source)
        if not text.strip():
            return MISSING
        if len(text) > JSON_MAX_CHARS:
            self.problems[name] = f"Longer than {JSON_MAX_CHARS:,} characters."
            return MISSING
        try:
            value = json.loads(text)
        except RecursionError:
            self.problems[name] = "Nested too deeply."
        except ValueError as error:
            self.problems[name] = f"Not valid JSON: {error}."
        else:
            if not field.is_secretive or stored is MISSING:
                return value
            return self.kept(*settled(field, unmasked(value, stored, name), stored))
        return MISSING

    def _group(self, field: Field, name: str, stored: Any) -> Any:
        if not self._is_on(name + ON):
            if not self._was_sent(name):
                return MISSING
            if field.has_toggle:
                return field.blank
        stored_values = stored if isinstance(stored, dict) else {}
        decoded: dict[str, Any] = {}
        for inner in field.fields:
            value = self.value(inner, below(name, inner.name), stored_values.get(inner.name, MISSING))
            if value is not MISSING:
                decoded[inner.name] = value
        if field.is_open and (more := self._more(field, name, stored_values)):
            decoded = {**more, **decoded}
        return self.kept(*settled_model(field, decoded, stored))

    def _more(self, field: Field, name: str, stored_values: Mapping[str, Any]) -> Any:
        if name + OPEN not in self._data:
            return {}
        undeclared = Field("", Kind.JSON, is_secretive=field.is_secretive)
        more = self._json(undeclared, name + OPEN, name, dict(stored_values))
        if more is MISSING or isinstance(more, dict):
            return {} if more is MISSING else more
        self.problems[name] = "Enter a JSON object: { … }"
        return {}

    def _was_sent(self, name: str) -> bool:
        """Return whether the browser sent anything below a group; it does not send a switch that is off."""
        return any(key.startswith((f"{name}.", f"{name}!")) for key in self._data)

    def _list(self, field: Field, name: str, stored: Any) -> Any:
        if name + ROW not in self._data:
            return MISSING
        if field.has_toggle and not self._is_on(name + ON):
            return field.blank
        item = field.item
        if item is None:
            return MISSING
        values = [self.value(item, below(name, row), _origin(stored, row)) for row in rows(self._data, name)]
        return [None if value is MISSING else value for value in values]

    def _variant(self, field: Field, name: str, stored: Any) -> Any:
        if name + CHOSEN not in self._data:
            return MISSING
        index = chosen(self._data, field, name)
        if index is None:
            return field.blank
        is_same = stored is not MISSING and option_of(field, stored) == index
        value = self.value(field.options[index], option_name(name, index), stored if is_same else MISSING)
        return None if value is MISSING else value


_READERS: dict[Kind, Callable[[_Decoder, Field, str, Any], Any]] = {
    Kind.TEXT: _Decoder._text,
    Kind.SECRET: _Decoder._secret,
    Kind.INTEGER: _Decoder._number,
    Kind.NUMBER: _Decoder._number,
    Kind.SWITCH: _Decoder._switch,
    Kind.CHOICE: _Decoder._choice,
    Kind.CONSTANT: _Decoder._constant,
    Kind.GROUP: _Decoder._group,
    Kind.LIST: _Decoder._list,
    Kind.VARIANT: _Decoder._variant,
}


def rows(data: Sent, name: str) -> list[str]:
    """Return the ids of a list's items, in order and without duplicates."""
    return [row for row in dict.fromkeys(data.get(name + ROW, ())) if row.isalnum()]


def chosen(data: Sent, field: Field, name: str) -> int | None:
    """Return the index of the chosen option of a variant."""
    index = (data.get(name + CHOSEN) or ("",))[-1]
    return int(index) if index.isdecimal() and len(index) < 4 and int(index) < len(field.options) else None


def _origin(stored: Any, row: str) -> Any:
    """Return the stored value of an item of a list."""
    is_old = isinstance(stored, list) and row.isdecimal() and len(row) < 6 and int(row) < len(stored)
    return stored[int(row)] if is_old else MISSING
