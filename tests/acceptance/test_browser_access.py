"""Every page in light and dark, on a desk and on a phone: it fits, can be read, and its controls have names."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from runs import services
from runs.models import Run
from runs.states import Level
from tests.accessibility import nameless, too_weak
from tests.browser import DESKTOP, PHONE, check_fit, picture
from tests.factories import make_attempt, make_run
from tests.output import end_run, store_lines, store_metric, store_result
from tests.stack import Stack, ended

pytestmark = [pytest.mark.acceptance, pytest.mark.browser]

ALL = "body *"
LOUD = "".join(
    f"\x1b[{code}m {code} \x1b[0m" for code in (*range(1, 10), *range(31, 38), *range(40, 48), *range(91, 97))
)
PAGES = {
    "home": "/admin/",
    "list": "/admin/runs/run/?columns=config.behaviour&columns=result.best&sort=-result.best",
    "run": "/admin/runs/run/{rich}/change/",
    "failed": "/admin/runs/run/{failed}/change/",
    "waiting": "/admin/runs/run/{waiting}/change/",
    "compare": "/admin/runs/run/compare/?runs={rich},{failed}",
    "delete": "/admin/runs/run/{rich}/delete/",
    "launch": "/admin/runs/run/launch/",
    "form": "/admin/runs/run/launch/?experiment=scripted",
    "workers": "/admin/runs/worker/",
    "schedules": "/admin/runs/schedule/",
    "schedule form": "/admin/runs/schedule/add/",
    "instances": "/admin/experiments/instance/",
    "instance form": "/admin/experiments/instance/add/?experiment=scripted",
}


@pytest.fixture(scope="module")
def runs(stack: Stack) -> dict[str, Run]:
    """One of everything that a page can show."""
    attempt = make_attempt(provenance={"packages": {"numpy": "2.1"}})
    for seq, level in enumerate((Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR), 1):
        store_lines(attempt, [seq], level=level, message=LOUD, metadata={"some": "thing", "more": ["word"] * 50})
    store_metric(attempt, "loss", [3.0, 2.0, 1.0])
    store_result(attempt, "best", {"at": 7}, seq=4)
    rich = end_run(attempt, summary={"accuracy": 0.97})
    failed = ended(services.launch("scripted", configuration={"behaviour": "segfault"}))
    return {"rich": rich, "failed": failed, "waiting": make_run(queue="nobody")}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_is_readable_and_names_its_controls(
    visit: Callable[..., Page], runs: dict[str, Run], name: str, scheme: str
) -> None:
    path = PAGES[name].format(**{key: run.pk for key, run in runs.items()})
    page = visit(path, color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator("html")).to_have_class(re.compile("^dark" if scheme == "dark" else "^$"))
    picture(page, f"{name}-{scheme}-desktop")
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        check_fit(page)
        page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
        assert too_weak(page, ALL) == []
        assert nameless(page) == []


def test_a_run_that_is_being_cancelled_is_readable(visit: Callable[..., Page]) -> None:
    run = services.launch("scripted", configuration={"behaviour": "ignore_cancel"}, limits={"kill_grace_s": 2})
    page = visit(f"/admin/runs/run/{run.pk}/change/", color_scheme="dark")
    expect(page.locator("#lines li").first).to_be_visible(timeout=10_000)
    services.cancel(run.pk, by="ada")
    expect(page.locator("ol.run-cancelling")).to_be_visible(timeout=10_000)
    assert too_weak(page, ALL) == []
    assert nameless(page) == []
    ended(run)


def test_focus_can_be_seen_wherever_the_keyboard_goes(visit: Callable[..., Page], runs: dict[str, Run]) -> None:
    page = visit(f"/admin/runs/run/{runs['rich'].pk}/change/")
    page.locator("#level").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outlined != "none", page.evaluate("document.activeElement.outerHTML")
