"""Inputs of a form and the hints beside them. Inputs are unfold's widgets."""

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
    """`1 to 10,000 · default 200`; `required · above 0`. Nothing of an item of a list but its bounds."""
    said = list(spec.hints)
    if spec.name and spec.kind not in _SELF_EVIDENT:
        if spec.required and spec.default is MISSING and not spec.nullable:
            said.insert(0, "required")
        said += [text] if (text := _default(spec)) else []
    return " · ".join(said)


def _default(spec: Field) -> str:
    if spec.default in (MISSING, None, "", [], {}):
        return ""
    if spec.is_secretive:
        return "has a default"
    shown = _label(spec.default) if spec.kind != Kind.SWITCH else "on" if spec.default else "off"
    return f"default {shown}" if len(shown) <= DEFAULT_CHARS and "\n" not in shown else ""


def choices_of(spec: Field, current: str) -> list[tuple[str, str]]:
    """With an empty one where nothing may be, or has been, chosen; and what was sent even if it is none of them."""
    found = [(choice.key, _label(choice.value)) for choice in spec.choices]
    if spec.nullable:
        found.insert(0, ("", "None"))
    elif spec.default is MISSING:
        found.insert(0, ("", "Choose…"))
    if current and current not in dict(found):
        found.append((current, f"{current} (unknown)"))
    return found


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
