"""Inputs of a form and their hints. Inputs are unfold's widgets."""

from __future__ import annotations

import json
from typing import Any

from django.forms import Widget
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from experiments.forms.fields import MISSING, Field, Kind

DEFAULT_CHARS = 60
ROWS_MAX = 16
_SELF_EVIDENT = (Kind.GROUP, Kind.LIST, Kind.VARIANT)


def hints(spec: Field) -> str:
    """Return the hints of a field: `1 to 10,000 · default 200`. Items of lists show bounds only."""
    parts = list(spec.hints)
    if spec.name and spec.kind not in _SELF_EVIDENT:
        if spec.required and spec.default is MISSING and not spec.nullable:
            parts.insert(0, "required")
        parts += [text] if (text := _default(spec)) else []
    return " · ".join(parts)


def _default(spec: Field) -> str:
    if spec.default in (MISSING, None, "", [], {}):
        return ""
    if spec.is_secretive:
        return "has a default"
    label = _label(spec.default) if spec.kind != Kind.SWITCH else "on" if spec.default else "off"
    return f"default {label}" if len(label) <= DEFAULT_CHARS and "\n" not in label else ""


def choices_of(spec: Field, current: str) -> list[tuple[str, str]]:
    """Return (key, label) of each choice, an empty one if null or no default is possible, and an unknown `current`."""
    choices = [(choice.key, _label(choice.value)) for choice in spec.choices]
    if spec.nullable:
        choices.insert(0, ("", "None"))
    elif spec.default is MISSING:
        choices.insert(0, ("", "Choose…"))
    if current and current not in dict(choices):
        choices.append((current, f"{current} (unknown)"))
    return choices


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def line(spec: Field) -> Widget:
    attrs = {"placeholder": spec.placeholder, "autocomplete": "off", "suffix": spec.unit}
    if spec.kind in (Kind.INTEGER, Kind.NUMBER) or spec.format == "decimal":
        attrs["inputmode"] = "numeric" if spec.kind == Kind.INTEGER else "decimal"
        attrs["class"] = "af-number"
    if spec.format in ("path", "uuid", "uri"):
        attrs["spellcheck"] = "false"
    widget: Widget = UnfoldAdminTextInputWidget({key: value for key, value in attrs.items() if value})
    return widget


def area(text: str, *, is_code: bool = False) -> Widget:
    attrs: dict[str, Any] = {"rows": min(ROWS_MAX, max(2, text.count("\n") + 1))}
    code = {"class": "athanor-code", "spellcheck": "false"} if is_code else {}
    widget: Widget = UnfoldAdminTextareaWidget({**attrs, **code})
    return widget
