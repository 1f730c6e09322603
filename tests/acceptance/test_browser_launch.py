"""Launch of a run in a real browser, from choosing an experiment to its lines: by mouse, keys, or without script."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from experiments.models import Instance
from runs import services
from runs.models import Run
from tests.browser import PHONE, check_fit, picture
from tests.stack import ended

pytestmark = [pytest.mark.acceptance, pytest.mark.browser]

LAUNCH = "/admin/runs/run/launch/"
LAYERED = f"{LAUNCH}?experiment=layered"


def named(page: Page, name: str) -> Any:
    return page.locator(f'[name="configuration.{name}"]:not([type=hidden])')


def launched(page: Page) -> Run:
    """Return the run of this page."""
    expect(page).to_have_url(re.compile(r"/runs/run/\d+/change/"))
    found = re.search(r"/run/(\d+)/", page.url)
    assert found
    return ended(Run.objects.get(pk=found[1]))


def test_an_experiment_is_searched_its_form_mended_and_its_run_watched(visit: Callable[..., Page]) -> None:
    page = visit(LAUNCH)
    search = page.get_by_role("searchbox", name="Choose an experiment")
    expect(search).to_be_focused()
    search.fill("layers network")
    expect(page.locator("[data-count]")).to_have_text("1 experiment")
    search.press("Enter")
    page.get_by_role("button", name="Add to Layers").click()
    named(page, "layers.1.units").fill("0")
    page.get_by_role("button", name="Launch").click()
    units = named(page, "layers.1.units")
    expect(units).to_be_focused()
    expect(units).to_have_attribute("aria-invalid", "true")
    expect(units).to_have_accessible_description(re.compile("greater than or equal to 1"))
    expect(page.get_by_role("alert")).to_contain_text("Layers 2: Units")
    picture(page, "launch-error-light")
    units.fill("33")
    page.get_by_role("button", name="Launch").click()
    run = launched(page)
    assert [layer["units"] for layer in run.configuration["layers"]] == [8, 33, 8]
    expect(page.locator("#lines")).to_contain_text("a layer of 33")


def test_lists_are_edited_by_keys_alone(visit: Callable[..., Page]) -> None:
    page = visit(LAYERED)
    rows = page.locator('[data-list="configuration.layers"] > .af-body > .af-rows > li')
    page.get_by_role("button", name="Add to Layers").focus()
    page.keyboard.press("Enter")
    expect(rows).to_have_count(3)
    page.keyboard.press("Control+A")  # what was added has the focus
    page.keyboard.type("7")
    page.get_by_role("button", name="Move Layers 3 up").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(rows.first.locator("legend").first).to_have_text("Layers 1")
    page.get_by_role("button", name="Remove Layers 3").focus()
    page.keyboard.press("Space")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Launch").focus()
    page.keyboard.press("Enter")
    assert [layer["units"] for layer in launched(page).configuration["layers"]] == [7, 8]


def test_the_enter_key_launches_and_the_kind_of_a_union_shows_its_fields(visit: Callable[..., Page]) -> None:
    page = visit(LAYERED)
    expect(named(page, "optimizer!0.beta")).to_be_visible()
    page.locator('[name="configuration.optimizer!is"]').select_option(label="Sgd")
    expect(named(page, "optimizer!0.beta")).to_be_hidden()
    named(page, "optimizer!1.momentum").fill("0.25")
    named(page, "optimizer!1.momentum").press("Enter")
    assert launched(page).configuration["optimizer"] == {"kind": "sgd", "momentum": 0.25}


def test_without_a_script_the_server_adds_items_and_shows_errors(visit: Callable[..., Page]) -> None:
    page = visit(LAYERED, java_script_enabled=False)
    page.get_by_role("button", name="Add to Layers").click()
    expect(named(page, "layers.n0.units")).to_be_focused()
    named(page, "layers.n0.units").fill("0")
    page.get_by_role("button", name="Move Layers 3 up").click()
    page.get_by_role("button", name="Launch").click()
    page.get_by_role("link", name="Layers 2: Units").click()
    expect(named(page, "layers.n0.units")).to_be_visible()
    named(page, "layers.n0.units").fill("44")
    page.get_by_role("button", name="Launch").click()
    assert [layer["units"] for layer in launched(page).configuration["layers"]] == [8, 44, 16]


def test_a_run_is_launched_again_with_changes_and_kept_as_an_instance(visit: Callable[..., Page]) -> None:
    run = ended(services.launch("layered", configuration={"note": "first", "token": "hush"}, seed=5))
    page = visit(f"/admin/runs/run/{run.pk}/change/")
    page.locator("summary", has_text="More").click()
    page.get_by_role("link", name="Launch with changes").click()
    expect(named(page, "note")).to_have_value("first")
    assert "hush" not in page.content()
    named(page, "epochs").fill("4")
    named(page, "token").fill("hush")
    page.get_by_label("Name", exact=True).fill("kept")
    page.get_by_role("button", name="Save as instance").click()
    expect(page.get_by_text("Saved instance kept")).to_be_visible()
    named(page, "epochs").fill("5")
    named(page, "token").fill("hush")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_url(re.compile(r"/instance/$"))
    instance = Instance.objects.get(name="kept")
    assert (instance.configuration["epochs"], instance.configuration["token"]) == (5, "hush")


def test_another_experiment_of_an_instance_draws_its_form_at_once(visit: Callable[..., Page]) -> None:
    page = visit("/admin/experiments/instance/add/?experiment=monte_carlo_pi")
    page.get_by_label("Experiment").select_option("layered")
    expect(named(page, "layers.0.units")).to_have_value("8")
    expect(named(page, "darts")).to_have_count(0)


@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_launch_pages_fit_and_name_their_controls(visit: Callable[..., Page], scheme: str, viewport: Any) -> None:
    options = {"color_scheme": scheme} | ({"viewport": viewport} if viewport else {})
    instance = "/admin/experiments/instance/add/?experiment=layered"
    for name, path in {"choose": LAUNCH, "launch": LAYERED, "instance": instance}.items():
        page = visit(path, **options)
        page.wait_for_timeout(300)
        picture(page, f"{name}-{scheme}-{'phone' if viewport else 'desktop'}")
        check_fit(page)
