"""Add, remove and move items of lists in the data of a form. Pure; for browsers without JavaScript.

An item keeps its id when it moves, so that its stored secrets stay assigned to it.
"""

from __future__ import annotations

import re

from experiments.forms.decoding import Sent, rows
from experiments.forms.encoding import LIST_INPUTS_MAX, Data, encode, inputs
from experiments.forms.fields import MISSING, ON, ROW, Field, Kind, below

_STEP = re.compile(r"([.!])([^.!]+)")


def edit(root: Field, data: Sent, name: str, command: str) -> tuple[Data, str]:
    """Apply `add LIST`, or `remove`, `up` or `down LIST ROW`; returns the data and the name to focus.

    An invalid command changes nothing.
    """
    edited = {key: list(values) for key, values in data.items()}
    verb, _, rest = command.partition(" ")
    of, _, row = rest.partition(" ")
    field = find(root, name, of)
    if field is None or field.kind != Kind.LIST or field.item is None:
        return edited, ""
    ids = rows(edited, of)
    if verb == "add":
        return _add(field, edited, of, ids)
    if row not in ids:
        return edited, ""
    at = ids.index(row)
    if verb == "remove":
        ids.remove(row)
        edited = {key: values for key, values in edited.items() if not _is_of(key, below(of, row))}
    elif verb in ("up", "down"):
        ids.insert(max(0, at + (1 if verb == "down" else -1)), ids.pop(at))
    edited[of + ROW] = ["", *ids]
    return edited, of if verb == "remove" else below(of, row)


def find(root: Field, prefix: str, name: str) -> Field | None:
    """Return the field with this name in the form, or None."""
    if not name.startswith(prefix):
        return None
    field: Field | None = root
    for mark, step in _STEP.findall(name[len(prefix) :]):
        if field is None:
            return None
        if mark == "!":
            field = field.options[int(step)] if step.isdecimal() and int(step) < len(field.options) else None
        else:
            field = field.item if field.kind == Kind.LIST else field.get(step)
    return field


def _add(field: Field, data: Data, of: str, ids: list[str]) -> tuple[Data, str]:
    assert field.item is not None  # noqa: S101  # checked by `edit`
    if (len(ids) + 1) * inputs(field.item) > LIST_INPUTS_MAX:
        return data, of
    new = next(row for number in range(len(ids) + 1) if (row := f"n{number}") not in ids)
    data.update(encode(field.item, MISSING, below(of, new)))
    data[of + ROW] = ["", *ids, new]
    data[of + ON] = ["on"]
    return data, below(of, new)


def _is_of(key: str, name: str) -> bool:
    return key == name or key.startswith((f"{name}.", f"{name}!"))
