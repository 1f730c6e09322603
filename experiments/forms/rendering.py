"""Turn fields and the data of a form into nodes for its templates. Inputs are unfold's widgets.

Everything is drawn from the data that a browser sends or would send, so that typed values are shown unchanged. Secrets
are never shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.forms import Widget
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminPasswordToggleWidget, UnfoldAdminSelectWidget, UnfoldBooleanSwitchWidget

from experiments.forms.controls import area, choices_of, hints, line
from experiments.forms.decoding import Sent, chosen, rows
from experiments.forms.encoding import Data, as_json, encode, option_of
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
    Field,
    Kind,
    below,
    option_name,
)
from experiments.references import HELP as REFERENCE_HELP
from experiments.references import is_reference

COMMAND = "!do"
"""Name of the buttons that change the form without submitting it."""


@dataclass
class Node:
    """One field, prepared for its template."""

    field: Field
    name: str
    kind: str
    """Name of its template: the field's kind, or JSON."""
    control: str = ""
    errors: Sequence[str] = ()
    title: str = ""
    help: str = ""
    hints: str = ""
    is_on: bool = True
    has_toggle: bool = False
    toggle: str = ""
    extras: list[tuple[str, str, bool]] = dataclasses.field(default_factory=list)
    """Checkboxes of the field: name, label, whether checked."""
    hidden: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    children: list[Node] = dataclasses.field(default_factory=list)
    rows: list[tuple[str, Node]] = dataclasses.field(default_factory=list)
    """Items of a list: (id, node)."""
    blank: Node | None = None
    """Node of a new item of a list, with `placeholder` instead of its id."""
    placeholder: str = ""
    is_focused: bool = False
    """True for a list that takes the focus because it has no items."""

    @property
    def id(self) -> str:
        return f"id_{self.name}"

    @property
    def describes(self) -> str:
        """Ids of the elements that explain the input."""
        ids = [f"{self.id}-help"] if self.is_explained else []
        return " ".join([*ids, *([f"{self.id}-errors"] if self.errors else [])])

    @property
    def is_explained(self) -> bool:
        return bool(self.help or self.hints or self.notes)


class Drawer:
    """Draw fields. `stored` is the initial value, to show whether a secret is stored."""

    def __init__(self, data: Sent, errors: Mapping[str, Sequence[str]], focus: str = "") -> None:
        self._data, self._errors, self._focus = data, errors, focus

    def node(self, spec: Field, name: str, stored: Any, *, title: str | None = None, depth: int = 0) -> Node:
        is_json = spec.kind == Kind.JSON or name + AS_JSON in self._data
        node = Node(spec, name, Kind.JSON.value if is_json else spec.kind.value, errors=self._errors.get(name, ()))
        node.title, node.help = spec.title if title is None else title, spec.description
        node.hints = hints(spec)
        if is_json:
            self._json(node, name + AS_JSON)
        elif spec.kind == Kind.GROUP:
            self._group(node, stored, depth)
        elif spec.kind == Kind.LIST:
            self._list(node, stored, depth)
        elif spec.kind == Kind.VARIANT:
            self._variant(node, stored, depth)
        elif spec.kind == Kind.SECRET:
            self._secret(node, stored)
        else:
            self._leaf(node)
        return node

    def _last(self, name: str) -> str:
        return (self._data.get(name) or ("",))[-1]

    def _draw(self, node: Node, widget: Widget, value: Any, name: str = "") -> SafeString:
        attrs: dict[str, Any] = {"id": node.id}
        if node.describes:
            attrs["aria-describedby"] = node.describes
        if node.errors:
            attrs["aria-invalid"] = "true"
        if node.field.required and node.field.default is MISSING and not node.field.nullable:
            attrs["aria-required"] = "true"
        if self._focus and node.name.startswith(self._focus):
            attrs["autofocus"], self._focus = True, ""
        return widget.render(name or node.name, value, attrs)

    def _json(self, node: Node, name: str) -> None:
        text = self._last(name)
        if node.field.kind != Kind.JSON:
            node.notes.append("Shown as JSON, since the form field cannot show this value.")
        node.control = self._draw(node, area(text, is_code=True), text, name)

    def _leaf(self, node: Node) -> None:
        spec, text = node.field, self._last(node.name)
        if spec.kind == Kind.SWITCH:
            node.hidden.append((node.name, ""))
            node.control = self._draw(node, UnfoldBooleanSwitchWidget(), text == "on")
        elif spec.kind == Kind.CHOICE:
            node.control = self._draw(node, UnfoldAdminSelectWidget(choices=choices_of(spec, text)), text)
        elif spec.kind == Kind.TEXT and (spec.is_long or "\n" in text):
            node.control = self._draw(node, area(text), text)
        else:
            node.control = self._draw(node, line(spec), text)
        if spec.kind == Kind.TEXT and node.name + EMPTY in self._data:
            node.extras.append((node.name + EMPTY, "If empty, store an empty text", True))

    def _secret(self, node: Node, stored: Any) -> None:
        """Draw a secret. A typed one is never sent back: it must be typed again, or omitted explicitly."""
        node.notes.append(REFERENCE_HELP)
        is_stored = isinstance(stored, str)
        fallback = "the stored one" if is_stored else "the default" if node.field.default is not MISSING else "nothing"
        if is_stored:
            is_kept = is_reference(stored)
            condition = "leave this empty" if is_kept else "leave this empty and the fields beside it unchanged"
            node.notes.append(f"{stored if is_kept else 'A secret'} is stored. To keep it, {condition}.")
        was_typed = self._last(node.name) != "" or self._last(node.name + AGAIN) == "on"
        if was_typed:
            node.hidden.append((node.name + AGAIN, "on"))
            node.notes.append("Enter it again: secrets are not sent back to the browser.")
            node.extras.append((node.name + KEEP, f"Use {fallback} instead", self._last(node.name + KEEP) == "on"))
        if node.field.nullable and is_stored:
            node.extras.append((node.name + CLEAR, "Remove it", self._last(node.name + CLEAR) == "on"))
        is_default = self._last(node.name + DEFAULT) == "on"
        if is_stored and (node.errors or is_default) and node.field.default not in (MISSING, None):
            node.extras.append((node.name + DEFAULT, "Use the default instead", is_default))
        widget = UnfoldAdminPasswordToggleWidget({"autocomplete": "new-password"})
        node.control = self._draw(node, widget, None)

    def _toggle(self, node: Node) -> None:
        node.has_toggle = node.field.has_toggle
        node.is_on = not node.has_toggle or self._last(node.name + ON) == "on"
        if node.has_toggle:
            attrs = {"id": f"{node.id}-on", "aria-label": f"Set {node.title}"}
            node.toggle = UnfoldBooleanSwitchWidget().render(node.name + ON, node.is_on, attrs)
        else:
            node.hidden.append((node.name + ON, "on"))

    def _group(self, node: Node, stored: Any, depth: int) -> None:
        self._toggle(node)
        stored_values = stored if isinstance(stored, dict) else {}
        for inner in node.field.fields:
            if inner.kind != Kind.CONSTANT:
                at = below(node.name, inner.name)
                node.children.append(self.node(inner, at, stored_values.get(inner.name, MISSING), depth=depth))
        if node.field.is_open:
            other = Node(Field("", Kind.JSON), node.name + OPEN, Kind.JSON.value, title="More")
            other.help = "Other keys, as a JSON object."
            self._json(other, node.name + OPEN)
            node.children.append(other)

    def _list(self, node: Node, stored: Any, depth: int) -> None:
        self._toggle(node)
        item = node.field.item
        if item is None:
            return
        node.help = node.help or item.description
        item = replace(item, description="")  # the list shows it once
        for number, row in enumerate(rows(self._data, node.name), start=1):
            is_stored = isinstance(stored, list) and row.isdecimal() and int(row) < len(stored)
            origin = stored[int(row)] if is_stored else MISSING
            title = f"{node.title} {number}"
            node.rows.append((row, self.node(item, below(node.name, row), origin, title=title, depth=depth)))
        node.is_focused = self._focus == node.name
        node.placeholder = f"ROW{depth}ROW"
        at = below(node.name, node.placeholder)
        drawer = Drawer(encode(item, MISSING, at), {})
        node.blank = drawer.node(item, at, MISSING, title=f"{node.title} (new)", depth=depth + 1)

    def _variant(self, node: Node, stored: Any, depth: int) -> None:
        spec, index = node.field, chosen(self._data, node.field, node.name)
        choices = [(str(number), option.title) for number, option in enumerate(spec.options)]
        if spec.has_toggle or index is None:
            choices.insert(0, ("", "None" if spec.nullable else "Choose…"))
        widget = UnfoldAdminSelectWidget(choices=choices)
        value = "" if index is None else str(index)
        node.control = self._draw(node, widget, value, node.name + CHOSEN)
        of = option_of(spec, stored) if stored is not MISSING else None
        for number, option in enumerate(spec.options):
            option_stored = stored if of == number else MISSING
            inner = replace(option, description="") if option.description == spec.description else option
            node.children.append(self.node(inner, option_name(node.name, number), option_stored, depth=depth))


def draw(root: Field, data: Sent, name: str, stored: Any, errors: Mapping[str, Sequence[str]], focus: str = "") -> Node:
    """Draw the whole form below `name`. Errors of values that are not shown appear at the top."""
    node = Drawer(data, errors, focus).node(root, name, stored, title=name.capitalize())
    drawn = {inner.name for inner in walk(node)}
    not_drawn = [f"{at}: {text}" for at, texts in errors.items() if at not in drawn for text in texts]
    node.errors = [*node.errors, *not_drawn]
    return node


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and all below it, in page order."""
    yield node
    for below_it in (*node.children, *(item for _, item in node.rows)):
        yield from walk(below_it)


def problems_in(node: Node, within: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (id of the input, its title with that of its group, message) of each problem."""
    title = f"{within}: {node.title}" if within and node.title else node.title or within
    yield from ((node.id, title, error) for error in node.errors)
    around = node.title if "." in node.name else ""
    for below_it in (*node.children, *(item for _, item in node.rows)):
        yield from problems_in(below_it, around)


def starting_data(root: Field, shown: Any, name: str) -> Data:
    """Return the data of the form when it is first shown."""
    return encode(root, shown, name) if root.kind != Kind.JSON else {name + AS_JSON: [as_json(shown)]}
