"""Fill a form from the query of a link: `?epochs=3&optimizer.rate=0.1&layers.0.size=8`. Pure.

The value of a list is JSON, or its key is repeated. Submitting the form reports invalid values; only unknown keys and
secrets, which must not be in links, are reported at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.exceptions import did_you_mean
from experiments.forms.encoding import option_of
from experiments.forms.fields import MISSING, Field, Kind, number

_TRUE, _FALSE = ("true", "1", "on", "yes"), ("false", "0", "off", "no", "")
_NUMBERS = (Kind.INTEGER, Kind.NUMBER)


@dataclass
class Prefilled:
    configuration: dict[str, Any]
    refused: list[str] = field(default_factory=list)
    """Messages about values that are not used."""


class _NotUsed(Exception):
    """Reason why a key of the link is not used."""


def prefill(root: Field, configuration: Mapping[str, Any], query: Mapping[str, Sequence[str]]) -> Prefilled:
    """Merge the values of the query into the configuration."""
    done = Prefilled(dict(configuration))
    for key, texts in query.items():
        try:
            changed = _set(root, done.configuration, key.split("."), list(texts))
        except _NotUsed as error:
            done.refused.append(f"{key} in the link is not used: {error}")
        else:
            done.configuration = changed
    return done


def _set(field: Field, value: Any, steps: list[str], texts: list[str]) -> Any:
    if not steps:
        return _read(field, texts)
    if value is MISSING:
        value = field.default
    if field.kind == Kind.GROUP:
        return _set_in_group(field, value if isinstance(value, dict) else {}, steps, texts)
    if field.kind == Kind.LIST and field.item:
        items = list(value) if isinstance(value, list) else []
        if steps[0].isdecimal() and (at := int(steps[0][:6])) <= len(items):
            items[at : at + 1] = [_set(field.item, items[at] if at < len(items) else MISSING, steps[1:], texts)]
            return items
    if field.kind == Kind.VARIANT:
        return _set_in_variant(field, value, steps, texts)
    raise _NotUsed(f"it has no {steps[0]!r}")


def _set_in_group(field: Field, value: dict[str, Any], steps: list[str], texts: list[str]) -> Any:
    inner = field.get(steps[0])
    if inner is None and field.is_open and len(steps) == 1:
        return {**value, steps[0]: _json(texts[-1])}
    if inner is None:
        raise _NotUsed(f"unknown{did_you_mean(steps[0], [inner.name for inner in field.fields])}")
    return {**value, inner.name: _set(inner, value.get(inner.name, MISSING), steps[1:], texts)}


def _set_in_variant(field: Field, value: Any, steps: list[str], texts: list[str]) -> Any:
    """Set a field in the current option if it has it, else in the first that does. A tag selects its option."""
    for option in field.options:
        tag = option.get(steps[0])
        if tag and tag.kind == Kind.CONSTANT and str(tag.constant) == texts[-1]:
            current = value if isinstance(value, dict) and value.get(tag.name) == tag.constant else {}
            return {**current, tag.name: tag.constant}
    current_index = None if value in (None, MISSING) else option_of(field, value)
    ordered = [*([field.options[current_index]] if current_index is not None else []), *field.options]
    for option in ordered:
        if option.get(steps[0]):
            constants = {tag.name: tag.constant for tag in option.fields if tag.kind == Kind.CONSTANT}
            below = value if current_index is not None and option is ordered[0] else constants
            return _set(option, below, steps, texts)
    raise _NotUsed(f"it has no {steps[0]!r}")


def _read(field: Field, texts: list[str]) -> Any:
    text = texts[-1]
    if field.kind == Kind.SECRET:
        raise _NotUsed("secrets must not be in a link")
    if field.nullable and text in ("null", "") and field.kind != Kind.TEXT:
        return None
    if field.kind == Kind.LIST and field.item:
        value = _json(text)
        return value if isinstance(value, list) and len(texts) == 1 else [_read(field.item, [text]) for text in texts]
    if field.kind in _NUMBERS:
        return number(text.strip(), only_whole=field.kind == Kind.INTEGER)
    if field.kind == Kind.TEXT:
        return text
    return _read_choice(field, text) if field.kind in (Kind.CHOICE, Kind.SWITCH) else _json(text)


def _read_choice(field: Field, text: str) -> Any:
    for choice in field.choices:
        if text in (choice.key, str(choice.value)):
            return choice.value
    if field.kind == Kind.SWITCH or any(isinstance(choice.value, bool) for choice in field.choices):
        return True if text.lower() in _TRUE else False if text.lower() in _FALSE else text
    return text


def _json(text: str) -> Any:
    """Parse JSON; return the text itself if it is not valid JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
