"""Stored secrets that a changed configuration may keep. Pure.

A secret is kept only while the rest of its model, the pydantic model that directly contains it, is unchanged.
Otherwise, users who do not know it could have it sent to an address of their own. A reference is not a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.forms.encoding import option_of
from experiments.forms.fields import MISSING, Field, Kind, same
from experiments.references import is_reference
from experiments.sealing import secrets_in
from experiments.validation import MASK

ENTER_AGAIN = "Enter it again: a stored secret is kept only while the fields beside it are unchanged."
GIVE_AGAIN = "Give it again: a stored secret is kept only while the other fields of its model are unchanged."


@dataclass(frozen=True, slots=True)
class Kept:
    """Placeholder for a stored secret that is to be kept."""

    secret: Any
    place: str = ""
    """Name of its input in the form."""
    path: str = ""
    """Dotted path below that place."""


def lent(shown: Any, stored: Any, path: str = "") -> Any:
    """Return a stored configuration with `Kept` in place of its secrets, which `shown` has masked."""
    if shown == MASK:
        return Kept(stored, path=path)
    if isinstance(shown, dict) and isinstance(stored, dict):
        return {key: lent(shown.get(key), item, _join(path, key)) for key, item in stored.items()}
    if isinstance(shown, list) and isinstance(stored, list) and len(shown) == len(stored):
        return [lent(mask, item, _join(path, i)) for i, (mask, item) in enumerate(zip(shown, stored, strict=True))]
    return stored


def merged(field: Field, value: Any, stored: Any) -> tuple[Any, list[Kept]]:
    """Settle a whole configuration: return it, and the secrets that are not kept, which are null."""
    value, refused = settled(field, value, stored)
    value, more = settled_model(field, value, stored)
    return value, refused + more


def unmasked(value: Any, stored: Any, place: str, path: str = "") -> Any:
    """Return JSON that a form sent, with `Kept` for each mask that has a stored text at its place."""
    if value == MASK and isinstance(stored, str):
        return Kept(stored, place, path)
    if isinstance(value, dict) and isinstance(stored, dict):
        return {key: unmasked(item, stored.get(key), place, _join(path, key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(stored, list) and len(value) == len(stored):
        pairs = enumerate(zip(value, stored, strict=True))
        return [unmasked(item, old, place, _join(path, index)) for index, (item, old) in pairs]
    return value


def settled(field: Field, value: Any, stored: Any) -> tuple[Any, list[Kept]]:
    """Settle a value with all models below it; return it, and the secrets that are not kept.

    A `Kept` outside of any model below remains: its own model is around this value.
    """
    refused: list[Kept] = []
    if field.kind == Kind.GROUP and isinstance(value, dict):
        before = stored if isinstance(stored, dict) else {}
        below = dict(value)
        for inner in field.fields:
            if inner.name in value:
                below[inner.name], more = settled(inner, value[inner.name], before.get(inner.name, MISSING))
                refused += more
        value, more = settled_model(field, below, stored)
        refused += more
    elif field.kind == Kind.LIST and field.item and isinstance(value, list):
        are_paired = isinstance(stored, list) and len(stored) == len(value)
        pairs = [settled(field.item, item, stored[i] if are_paired else MISSING) for i, item in enumerate(value)]
        value, refused = [item for item, _ in pairs], [kept for _, more in pairs for kept in more]
    elif field.kind == Kind.VARIANT and (index := option_of(field, _filled(value))) is not None:
        is_same = stored is not MISSING and option_of(field, stored) == index
        return settled(field.options[index], value, stored if is_same else MISSING)
    return value, refused


def settled_model(field: Field, value: Any, stored: Any) -> tuple[Any, list[Kept]]:
    """Settle one model whose inner models are settled: return it, and the secrets that are not kept, which are null."""
    kept = list(_kept_in(value))
    if not kept:
        return value, []
    filled = _filled(value)
    if stored is not MISSING and is_unchanged(field, filled, stored):
        return filled, []
    refused = [each for each in kept if not (isinstance(each.secret, str) and is_reference(each.secret))]
    return _replaced(value, lambda each: None if each in refused else each.secret), refused


def pinned(field: Field, own: Any, effective: Any) -> Any:
    """Return overrides in which each model with a stored secret of its own is complete, with values of `effective`.

    So a change of the overridden instance does not change what belongs to that secret; see `apart`.
    """
    if field.kind == Kind.GROUP and isinstance(own, dict) and isinstance(effective, dict):
        if _holds_secret(field, own):
            return effective
        fields = {name: field.get(name) for name in own}
        return {
            name: pinned(inner, own[name], effective.get(name)) if inner else own[name]
            for name, inner in fields.items()
        }
    return effective if field.kind == Kind.VARIANT and _has_secret(own) else own


def apart(field: Field, own: Any, merged: Any) -> Any:
    """Return merged values in which each model with a stored secret of its own is that of `own`, without additions."""
    if field.kind == Kind.GROUP and isinstance(own, dict) and isinstance(merged, dict):
        if _holds_secret(field, own):
            return own
        fields = {name: field.get(name) for name in merged}
        return {
            name: apart(inner, own[name], merged[name]) if inner and name in own else merged[name]
            for name, inner in fields.items()
        }
    return own if field.kind == Kind.VARIANT and _has_secret(own) else merged


def _holds_secret(field: Field, own: Mapping[str, Any]) -> bool:
    """Return whether a stored secret is directly in this model, not in a model below it."""
    return any(_has_secret(value) and not _is_model(field.get(name), value) for name, value in own.items())


def _is_model(field: Field | None, value: Any) -> bool:
    if field is None:
        return False
    of_list = field.kind == Kind.LIST and field.item is not None and field.item.kind == Kind.GROUP
    return of_list or field.kind == Kind.GROUP or (field.kind == Kind.VARIANT and isinstance(value, dict))


def _has_secret(value: Any) -> bool:
    return any(not is_reference(secret) for _, secret in secrets_in(value))


def is_unchanged(field: Field | None, value: Any, stored: Any) -> bool:
    """Return whether both are equal as values of the field; what one of them lacks has its default."""
    if isinstance(value, dict) and isinstance(stored, dict):
        names = dict.fromkeys([*value, *stored])
        fields = {name: field.get(name) if field else None for name in names}
        defaults = {name: inner.default if inner else MISSING for name, inner in fields.items()}
        return all(
            is_unchanged(fields[name], value.get(name, defaults[name]), stored.get(name, defaults[name]))
            for name in names
        )
    if value is MISSING or stored is MISSING:
        return value is stored
    if isinstance(value, list) and isinstance(stored, list):
        item = field.item if field else None
        return len(value) == len(stored) and all(
            is_unchanged(item, new, old) for new, old in zip(value, stored, strict=True)
        )
    if _is_number(value) and _is_number(stored):
        return bool(value == stored)
    try:
        return same(value, stored)
    except TypeError:  # a Python value without a JSON form, from a script
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kept_in(value: Any) -> Iterator[Kept]:
    if isinstance(value, Kept):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _kept_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _kept_in(item)


def _filled(value: Any) -> Any:
    return _replaced(value, lambda kept: kept.secret)


def _replaced(value: Any, by: Callable[[Kept], Any]) -> Any:
    if isinstance(value, Kept):
        return by(value)
    if isinstance(value, Mapping):
        return {key: _replaced(item, by) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, by) for item in value]
    return value


def _join(*parts: str | int) -> str:
    return ".".join(str(part) for part in parts if part != "")
