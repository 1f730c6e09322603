"""Place the validator's errors in the form: at their field, or at the nearest field around it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from experiments.forms.decoding import Sent, chosen, rows
from experiments.forms.fields import AS_JSON, Field, Kind, below, option_name


class Place(NamedTuple):
    """Place of an error in the form."""

    name: str
    """Name in the form."""
    rest: str
    """Path from that field to the error, for the message."""
    is_chosen: bool = True
    """False for an error of an option of a variant that is not chosen."""


def place(root: Field, data: Sent, name: str, problems: Mapping[str, str]) -> dict[str, list[str]]:
    """Return name in the form → messages. `problems`: dotted path in the configuration (empty: all of it) → message.

    Pydantic reports errors of every option of a union. Only those of the chosen option are kept, unless it has none.
    """
    located = [(_walk(root, data, name, path), message) for path, message in problems.items()]
    reported = {at.name for at, _ in located if at.is_chosen}
    placed: dict[str, list[str]] = {}
    for at, message in located:
        if at.is_chosen or not any(_is_within(name, at.name) for name in reported):
            text = f"{at.rest}: {message}" if at.rest else message
            placed.setdefault(at.name, []).append(text)
    return placed


def _walk(field: Field, data: Sent, name: str, path: str) -> Place:
    if not path or name + AS_JSON in data:
        return Place(name, path)
    if field.kind == Kind.GROUP:
        return _in_group(field, data, name, path)
    if field.kind == Kind.LIST and field.item:
        step, _, rest = path.partition(".")
        ids = rows(data, name)
        if step.isdecimal() and int(step) < len(ids):
            return _walk(field.item, data, below(name, ids[int(step)]), rest)
    if field.kind == Kind.VARIANT:
        return _in_variant(field, data, name, path)
    return Place(name, path)


def _in_group(field: Field, data: Sent, name: str, path: str) -> Place:
    for inner in field.fields:
        for alias in (inner.name, *inner.aliases):
            if path == alias or path.startswith(alias + "."):
                if inner.kind == Kind.CONSTANT:  # it is not shown
                    return Place(name, path)
                return _walk(inner, data, below(name, inner.name), path[len(alias) + 1 :])
    return Place(name, path)


def _in_variant(field: Field, data: Sent, name: str, path: str) -> Place:
    """Follow pydantic's name of the option, if the path has one."""
    index = chosen(data, field, name)
    for number, option in enumerate(field.options):
        for tag in option.tags:
            if match := re.match(re.escape(tag) + r"(\[.*?\])?(\.|$)", path):
                rest = path[match.end() :]
                if number == index:
                    return _walk(option, data, option_name(name, number), rest)
                return Place(name, rest, is_chosen=False)
    if index is None:
        return Place(name, path)
    return _walk(field.options[index], data, option_name(name, index), path)


def _is_within(name: str, around: str) -> bool:
    return name == around or name.startswith((f"{around}.", f"{around}!"))
