"""Generated parts of a Django form: each is one form field with all inputs that the part needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorDict
from django.http import QueryDict

from experiments import catalog, sealing
from experiments.exceptions import CatalogUnavailable, InvalidDefinition
from experiments.forms.decoding import Decoded, decode
from experiments.forms.encoding import Data, encode
from experiments.forms.error_paths import place
from experiments.forms.fields import AS_JSON, MISSING, Field, same
from experiments.forms.list_edits import edit
from experiments.forms.prefill import prefill
from experiments.forms.rendering import COMMAND, Node, draw, problems_in, starting_data
from experiments.forms.sources import Source

if TYPE_CHECKING:
    _Form = forms.Form
else:
    _Form = object  # a mixin of forms of both kinds

FOR = "!for"
"""After the field's name: experiment that the form was drawn for."""
VERSION = "!version"
"""After the field's name: version of the stored value when the form was drawn."""
PLAINLY = "launch"
"""Before a key of a link: the key belongs to the launch, not to the configuration."""
EDITS = ("add", "remove", "up", "down")


class SentData(dict[str, list[str]]):
    """Data that the browser sent for a part; the type distinguishes it from a configuration."""


class GeneratedWidget(forms.Widget):
    """Widget for all data of the browser that begins with its name."""

    template_name = "experiments/forms/generated.html"
    use_fieldset = True

    class Media:
        css = {"all": ("experiments/forms.css",)}
        js = (forms.Script("experiments/forms.js", type="module"),)

    def __init__(self, source: Source, *, with_summary: bool = False) -> None:
        super().__init__()
        self.source, self.with_summary, self.focus = source, with_summary, ""
        self._node: Node | None = None
        self.problems: dict[str, list[str]] = {}
        """Name of an input → messages."""

    @classmethod
    def media_of(cls) -> forms.Media:
        """Return the media for pages that use the style without such a form."""
        return forms.Media(cls.Media)

    def __deepcopy__(self, memo: dict[int, Any]) -> GeneratedWidget:
        copied = GeneratedWidget(self.source, with_summary=self.with_summary)
        copied.attrs, copied.is_required = dict(self.attrs), self.is_required
        return copied

    def id_for_label(self, id_: str) -> str:  # noqa: ARG002  # Django's signature
        return ""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Data:  # noqa: ARG002  # Django's signature
        data_of_part = SentData(part_of(data, name))
        if name in data_of_part:  # all of it as JSON, as programs send it
            data_of_part.setdefault(name + AS_JSON, data_of_part.pop(name))
        return data_of_part

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:  # noqa: ARG002  # Django's signature
        return not part_of(data, name)

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:  # noqa: ARG002  # Django's signature
        data: Data = value if isinstance(value, dict) else {}
        self._node = draw(self.source.root, data, name, self.source.stored, self.problems, self.focus)
        return {
            "node": self._node,
            "command": COMMAND,
            "summary": self.summary() if self.with_summary else [],
            "hidden": [(name + mark, value) for mark, value in self._marks() if value],
        }

    def _marks(self) -> tuple[tuple[str, str], ...]:
        return (FOR, self.source.of), (VERSION, self.source.version)

    def summary(self) -> list[tuple[str, str, str]]:
        """Return (id of the input, title, message) of each problem, in page order; empty before the form is drawn."""
        return list(problems_in(self._node)) if self._node else []


class GeneratedField(forms.Field):
    """Form field of an entered value, validated by the source. Its problems appear at its inputs."""

    widget = GeneratedWidget

    def __init__(self, source: Source, name: str, *, with_summary: bool = False, **kwargs: Any) -> None:
        widget = GeneratedWidget(source, with_summary=with_summary)
        super().__init__(required=False, widget=widget, initial=source.shown, **kwargs)
        self.source, self.name = source, name

    @property
    def drawing(self) -> GeneratedWidget:
        return cast(GeneratedWidget, self.widget)

    def prepare_value(self, value: Any) -> Data:
        """Encode a configuration; pass on data that the browser sent."""
        return value if isinstance(value, SentData) else starting_data(self.source.root, value, self.name)

    def bound_data(self, data: Any, initial: Any) -> Any:  # noqa: ARG002  # Django's signature
        return data

    def clean(self, value: Any) -> Any:
        if self.is_outdated(value):
            raise ValidationError(
                "It was changed after you opened this page. Reload the page to edit the current version."
            )
        read = self.read(value)
        problems: dict[str, list[str]] = {name: [text] for name, text in read.problems.items()}
        checked = None
        try:
            checked = self.source.check(read.configuration)
        except InvalidDefinition as error:
            paths = {path.partition(".")[2]: message for path, message in error.problems.items()}
            for name, messages in place(self.source.root, value, self.name, paths).items():
                problems.setdefault(name, messages)
        except CatalogUnavailable as error:
            raise ValidationError(str(error)) from error
        self.show(problems)
        if problems:
            raise ValidationError(fix_text(sum(map(len, problems.values()))))
        return checked

    def is_outdated(self, value: Data) -> bool:
        drawn_from = value.get(self.name + VERSION)
        return drawn_from is not None and drawn_from[-1] != self.source.version

    def show(self, problems: Mapping[str, Sequence[str]]) -> None:
        """Show the problems at their inputs."""
        self.drawing.problems = {name: list(messages) for name, messages in problems.items()}

    def read(self, value: Any) -> Decoded:
        return decode(self.source.root, value, self.name, self.source.stored)

    def has_changed(self, initial: Any, data: Any) -> bool:  # noqa: ARG002  # Django's signature
        try:
            return not same(self.source.check(self.read(data).configuration), sealing.opened(self.source.stored))
        except (InvalidDefinition, CatalogUnavailable, TypeError, sealing.Unreadable):
            return True


class EditableForm(_Form):
    """Form with buttons that add, remove and move items, or change the experiment, without submitting it."""

    is_edit = False
    refused: Sequence[str] = ()
    """Messages about values of a link that are not used."""

    def prefill(self, query: Mapping[str, Sequence[str]], plain: Sequence[str]) -> None:
        """Fill in the values of a link: a key belongs to the configuration if that has it, else to the `plain` fields.

        `limits.timeout_s` and `configuration.name` name their part, `launch.name` a plain field.
        """
        parts = {name: field for name, field in self.fields.items() if isinstance(field, GeneratedField)}
        values: dict[str, dict[str, Sequence[str]]] = {name: {} for name in parts}
        root = parts["configuration"].source.root
        for key, texts in query.items():
            first, _, rest = key.partition(".")
            name = rest if first == PLAINLY else key
            if root.get(first) or not (name in plain or (rest and first in parts)):
                values["configuration"][key] = texts
            elif name in plain:
                self.initial[name] = texts[-1]
            else:
                values[first][rest] = texts
        for name, field in parts.items():
            if not values[name]:
                continue
            shown = self.initial.get(name, MISSING)
            done = prefill(field.source.root, {} if shown is MISSING else shown, values[name])
            self.initial[name] = done.configuration
            self.refused = [*self.refused, *done.refused]

    def full_clean(self) -> None:
        command = self.data.get(COMMAND, "") if self.is_bound else ""
        if command.partition(" ")[0] in EDITS:
            self._edit(command)
        elif self.is_bound:
            self._change_experiment(command == "show")
        if self.is_edit:
            self._errors = ErrorDict()
            self.cleaned_data = {}
        else:
            super().full_clean()

    def is_valid(self) -> bool:
        return bool(super().is_valid() and not self.is_edit)

    def _edit(self, command: str) -> None:
        self.is_edit = True
        for name, field in self.fields.items():
            if isinstance(field, GeneratedField) and is_of(command.split(" ")[1:2], name):
                data, focus = edit(field.source.root, part_of(self.data, name), name, command)
                self._replace(name, data)
                field.drawing.focus = focus

    def _change_experiment(self, is_requested: bool) -> None:
        """Redraw a form that was drawn for another experiment, with the values of their common fields."""
        field = self.fields.get("configuration")
        drawn_for = self.data.get(f"configuration{FOR}")
        if not isinstance(field, GeneratedField):
            return
        if drawn_for is None or drawn_for == field.source.of:
            self.is_edit = is_requested
            return
        self.is_edit = True
        common: dict[str, Any] = {}
        root = field.source.root
        if entry := catalog.current().entries.get(drawn_for):
            before = entry.form
            common = decode(before, part_of(self.data, "configuration"), "configuration").configuration
            common = {
                key: value for key, value in common.items() if _is_open(before.get(key)) and _is_open(root.get(key))
            }
        self._replace("configuration", encode(root, common, "configuration"))

    def _replace(self, name: str, data: Data) -> None:
        changed = QueryDict(mutable=True)
        for key, values in part_of(self.data, "").items():
            if key != COMMAND and not is_of([key], name):
                changed.setlist(key, values)
        for key, values in data.items():
            changed.setlist(key, values)
        self.data = changed


def part_of(data: Any, name: str) -> Data:
    """Return the browser's data of a generated part; all data for an empty name."""
    keys = data if not name else [key for key in data if is_of([key], name)]
    lists = getattr(data, "getlist", None)
    return {key: lists(key) if lists else [data[key]] for key in keys}


def is_of(keys: Sequence[str], name: str) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}!")) for key in keys)


def fix_text(count: int) -> str:
    return "Fix 1 field." if count == 1 else f"Fix {count} fields."


def _is_open(field: Field | None) -> bool:
    """Return whether the value may move to another experiment: it has no secrets."""
    return field is not None and not field.is_secretive
