"""Differences between a configuration and what its stored form gives back, each with its path and its reason. Pure.

A configuration is validated once, at the launch. Its run gets the model that the stored form (JSON) gives, so that form
must give the same model. Validators that change what they have already changed, `exclude=True`, serializers that mask,
types that JSON does not tell apart: this module detects all of these by comparing the two models.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

Path = tuple[str | int, ...]

_MISSING = object()
_SHOWN_CHARS = 80


class Difference(NamedTuple):
    """An accepted value, and the different one that the stored form gives back."""

    path: Path
    accepted: Any
    restored: Any
    is_default: bool = False
    """True if the value is a default."""
    is_private: bool = False
    """True if it is in a private attribute of a model."""


class Problem(NamedTuple):
    """Difference with its reason, for display."""

    path: Path
    reason: str
    is_of_default: bool
    """True if the value is a default, and the stored form gives its validated value: `Path("data")` for `"data"`."""


def problems(accepted: BaseModel, restored: BaseModel, stored: Any, restore: Callable[[], BaseModel]) -> list[Problem]:
    """Return the differences between `accepted` and `restored`, which was created from `stored`.

    `restore` creates another model from `stored`: private attributes that are new each time, such as locks and clocks,
    are not part of a configuration.
    """
    differences = list(_between((), accepted, restored))
    if any(difference.is_private for difference in differences):
        anew = {each.path for each in _between((), restored, restore())}
        differences = [each for each in differences if not each.is_private or each.path not in anew]
    return [
        Problem(each.path, _reason(each, _at(stored, each.path)), each.is_default and _is_same_as_json(*each[1:3]))
        for each in differences
    ]


def is_excluded(stored: Any, path: Path) -> bool:
    """Return whether `stored` has no value at `path`."""
    return _at(stored, path) is _MISSING


def _between(path: Path, a: Any, b: Any, *, is_default: bool = False) -> Iterator[Difference]:
    if a is b:
        return
    if type(a) is type(b):
        if isinstance(a, BaseModel):
            yield from _of_models(path, a, b, is_default=is_default)
            return
        members = _members(a, b)
        if members is not None:
            for name, old, new in members:
                yield from _between((*path, name), old, new, is_default=is_default)
            return
    if not _is_same(a, b):
        yield Difference(path, a, b, is_default)


def _of_models(path: Path, a: BaseModel, b: BaseModel, *, is_default: bool) -> Iterator[Difference]:
    for name in type(a).model_fields:
        values = a.__dict__.get(name, _MISSING), b.__dict__.get(name, _MISSING)
        yield from _between((*path, name), *values, is_default=is_default or name not in a.model_fields_set)
    yield from _between(path, a.model_extra or {}, b.model_extra or {}, is_default=is_default)
    old_private, new_private = a.__pydantic_private__ or {}, b.__pydantic_private__ or {}
    for name in old_private.keys() | new_private.keys():
        values = old_private.get(name, _MISSING), new_private.get(name, _MISSING)
        for difference in _between((*path, name), *values):
            yield difference._replace(is_private=True)


def _members(a: Any, b: Any) -> list[tuple[str | int, Any, Any]] | None:
    """Return (name, value in a, value in b) for two containers of one type and shape; None for anything else."""
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        names = [field.name for field in dataclasses.fields(a)]
        return [(name, getattr(a, name, _MISSING), getattr(b, name, _MISSING)) for name in names]
    if isinstance(a, Mapping) and {(type(key), key) for key in a} == {(type(key), key) for key in b}:
        return [(key if isinstance(key, int) else str(key), a[key], b[key]) for key in a]
    if isinstance(a, list | tuple) and len(a) == len(b):
        return [(index, old, new) for index, (old, new) in enumerate(zip(a, b, strict=True))]
    if not _has_equality(a) and hasattr(a, "__dict__") and not callable(a):
        names = [*dict.fromkeys([*vars(a), *vars(b)])]
        return [(name, vars(a).get(name, _MISSING), vars(b).get(name, _MISSING)) for name in names]
    return None


def _is_same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return type(a) is int and type(b) is float and bool(a == b)
    if isinstance(a, datetime.datetime | datetime.time):
        return bool(a == b and a.fold == b.fold and _zone(a) == _zone(b))
    if isinstance(a, Set) and {type(item) for item in a} != {type(item) for item in b}:
        return False
    if not _has_equality(a):
        return not callable(a)  # such as a lock, which has nothing to compare
    equal: Any = a == b
    if not isinstance(equal, bool):
        equal = getattr(equal, "all", lambda: equal)()  # an array's
    return bool(equal) or bool(a != a and b != b)  # noqa: PLR0124  # NaN, as a float or a Decimal


def _has_equality(value: Any) -> bool:
    return getattr(type(value), "__eq__", None) is not getattr(object, "__eq__", None)


def _zone(moment: datetime.datetime | datetime.time) -> Any:
    """Return the UTC offset, or the zone itself if its offset changes with the date."""
    if moment.tzinfo is None:
        return None
    is_fixed = moment.tzinfo.utcoffset(None) is not None
    return moment.utcoffset() if is_fixed else str(moment.tzinfo)


def _is_same_as_json(a: Any, b: Any) -> bool:
    """Return whether a default and its validated value are the same as JSON: `"data"` and `Path("data")`."""
    try:
        old, new = (to_jsonable_python(_revealed(value)) for value in (a, b))
    except Exception:  # one of them has no JSON form
        return False
    return old == new or (not isinstance(old, bool | list | dict) and str(old) == str(new))


def _revealed(value: Any) -> Any:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def _at(stored: Any, path: Path) -> Any:
    for step in path:
        if isinstance(stored, Mapping):
            stored = stored.get(step, stored.get(str(step), _MISSING))
        elif isinstance(stored, Sequence) and not isinstance(stored, str) and isinstance(step, int):
            stored = stored[step] if step < len(stored) else _MISSING
        else:
            return _MISSING
    return stored


def _reason(difference: Difference, stored: Any) -> str:
    accepted, restored = difference.accepted, difference.restored
    if difference.is_private:
        return "A private attribute that the fields do not give back. Make it a field, or set it from the fields."
    if stored is _MISSING:
        return "Left out of the stored form (exclude=True, or a serializer), so that the run would not get it."
    if (kinds := _kinds(accepted, restored)) is not None:
        return kinds
    if isinstance(accepted, datetime.datetime | datetime.time) and accepted == restored:
        return f"The stored form keeps the offset of a time, not its zone {accepted.tzinfo}. Give the offset."
    if not _is_same_as_json(accepted, stored):
        return "Its serializer stores another value, which does not give back the accepted one."
    return (
        f"A validator changes a value that is already accepted: {_short(accepted)} becomes {_short(restored)} when the"
        " stored form is read. Make it leave its own result as it is."
    )


def _kinds(accepted: Any, restored: Any) -> str | None:
    """Describe how the two differ in their types; None if they do not."""
    if isinstance(accepted, Mapping) and accepted.keys() != getattr(restored, "keys", dict)():
        return "Has keys of another type than text, which the stored form gives back as text."
    if type(accepted) is not type(restored) and not (isinstance(accepted, int) and isinstance(restored, float)):
        return f"Accepted as {_name(accepted)}, but the stored form gives back {_name(restored)}."
    return None


def _name(value: Any) -> str:
    return "nothing" if value is _MISSING else type(value).__qualname__


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        return f"<{type(value).__qualname__}>"
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"
