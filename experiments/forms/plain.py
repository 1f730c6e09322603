"""Form fields outside of a configuration: a JSON object, tags."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

CODE_ATTRS = {"class": "athanor-code", "spellcheck": "false", "rows": 14}


class ObjectField(forms.JSONField):
    """JSON object as indented text; empty text is an empty object."""

    widget = UnfoldAdminTextareaWidget(attrs=CODE_ATTRS)

    def to_python(self, value: Any) -> Any:
        try:
            parsed = super().to_python(value)
        except RecursionError as error:
            raise forms.ValidationError("Nested too deeply.") from error
        except ValueError as error:  # the interpreter's limit on the digits of an integer
            raise forms.ValidationError("Contains a number with too many digits.") from error
        return {} if parsed is None else parsed

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, str):  # as typed, or as prefilled by a link
            return value
        text = json.dumps({} if value is None else value, indent=2, ensure_ascii=False)
        is_encodable = text.encode("utf-8", "replace").decode() == text
        return text if is_encodable else json.dumps(value, indent=2)

    def bound_data(self, data: Any, initial: Any) -> Any:  # noqa: ARG002  # Django's signature
        """Show the typed text again unchanged, even if it is not valid JSON."""
        return data


class TagsField(forms.CharField):
    """Tags as comma-separated text."""

    widget = UnfoldAdminTextInputWidget

    def to_python(self, value: Any) -> Any:
        return [tag for part in (value or "").split(",") if (tag := part.strip())]

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(data) != list(initial or []))
