"""Accessibility of a page as Chromium computes it: the contrast of its texts and the names of its controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

CONTROLS = frozenset(
    {"button", "checkbox", "combobox", "link", "listbox", "menuitem", "radio", "searchbox", "slider", "spinbutton",
     "switch", "tab", "textbox", "DisclosureTriangle", "progressbar", "image", "dialog"}
)  # fmt: skip
"""Roles that need a name. Their last three are no controls, but mute all the same without one."""

WEAK = (Path(__file__).parent / "contrast.js").read_text()


def too_weak(page: Page, selector: str) -> list[str]:
    """Texts, edges of fields and bars whose contrast is below WCAG's AA: 4.5 for text, 3 for large text and for what is
    no text. Looks at the elements that `selector` names."""
    return list(page.evaluate(WEAK, selector))


def nameless(page: Page) -> list[str]:
    """Controls of the whole page without a name, as Chromium computes it for screen readers."""
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    mute = [node for node in nodes if not node["ignored"] and node.get("role", {}).get("value") in CONTROLS]
    mute = [node for node in mute if not node.get("name", {}).get("value", "").strip()]
    return [_told(session, node) for node in mute]


def _told(session: Any, node: dict[str, Any]) -> str:
    html = session.send("DOM.getOuterHTML", {"backendNodeId": node["backendDOMNodeId"]})["outerHTML"]
    return f"{node['role']['value']}: {html[:200]}"
