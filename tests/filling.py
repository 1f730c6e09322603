"""Build the data that a browser sends for a page, to be changed and sent."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.test import Client

Sent = dict[str, list[str]]


class _Inputs(HTMLParser):
    """Inputs of the forms that are sent by POST, without those in a <template>."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: Sent = {}
        self._in_post, self._templates = False, 0
        self._select, self._first, self._area = "", False, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self._templates += tag == "template"
        if tag == "form":
            self._in_post = said.get("method", "").lower() == "post"
        elif not self._in_post or self._templates:
            return
        elif tag == "input":
            self._input(said)
        elif tag == "textarea":
            self._area = said["name"]
            self.sent[self._area] = [""]
        elif tag == "select":
            self._select, self._first = said["name"], True
        elif tag == "option" and self._select and (self._first or "selected" in said):
            self.sent[self._select], self._first = [said["value"]], False

    def _input(self, said: dict[str, str]) -> None:
        is_box = said.get("type") == "checkbox"
        if "name" in said and (not is_box or "checked" in said):
            self.sent.setdefault(said["name"], []).append(said.get("value", "on" if is_box else ""))

    def handle_data(self, data: str) -> None:
        if self._area:
            self.sent[self._area][0] += data

    def handle_endtag(self, tag: str) -> None:
        self._templates -= tag == "template"
        if tag == "textarea":
            self._area = ""
        elif tag == "select":
            self._select = ""


def sent_of(content: bytes) -> Sent:
    """Name of an input → what it holds."""
    parser = _Inputs()
    parser.feed(content.decode())
    return {name: [value.removeprefix("\n") for value in values] for name, values in parser.sent.items()}


def fill(client: Client, url: str, **changes: Any) -> Any:
    """Open the page at `url`, change its data and send it; return the answer. `__` is a dot; None omits a name."""
    page = client.get(url)
    assert page.status_code == 200, page.status_code
    return send(client, url, sent_of(page.content), **changes)


def send(client: Client, url: str, sent: Sent, **changes: Any) -> Any:
    data: dict[str, Any] = dict(sent)
    for name, value in changes.items():
        data[name.replace("__", ".")] = value
    return client.post(url, {name: value for name, value in data.items() if value is not None})
