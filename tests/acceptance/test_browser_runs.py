"""Run pages in a real browser, on a real web server, of real runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection, transaction
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, Route, expect

from runs import services
from runs.models import Run
from runs.states import Level
from tests.browser import picture
from tests.factories import make_attempt
from tests.output import EPOCH, end_run, store_lines
from tests.stack import Stack, ended
from tests.waiting import wait_until
from tests.web import Web

pytestmark = [pytest.mark.acceptance, pytest.mark.browser]

MANY = 1_000_000


def path_of(run: Run) -> str:
    return f"/admin/runs/run/{run.pk}/change/"


def numbers(page: Page) -> list[int]:
    """Return the numbers of the lines on the page, in page order."""
    return list(page.evaluate("[...document.querySelectorAll('#lines li')].map(row => Number(row.dataset.seq))"))


def launch(**configuration: Any) -> Run:
    return services.launch("scripted", configuration=configuration, name=str(configuration["behaviour"]))


def test_lines_arrive_while_one_looks_and_none_is_missing_after_the_server_was_restarted(
    visit: Callable[..., Page], web: Web
) -> None:
    run = launch(behaviour="checkpoint", count=60, pause_s=0.2)
    page = visit(path_of(run))
    wait_until(lambda: len(numbers(page)) >= 5, what="the first lines on the page")
    picture(page, "run-light")
    web.kill()
    page.wait_for_timeout(2000)
    expect(page.locator("[data-stopped]")).to_contain_text("Connection lost")
    web.start()
    ended(run)
    emitted = run.attempts.get().lines_emitted or 0
    wait_until(lambda: len(numbers(page)) >= emitted, timeout_s=30, what="all lines on the page")
    assert numbers(page) == list(range(1, emitted + 1))
    expect(page.locator(".run-chip").first).to_have_text("Completed")


def test_a_page_that_is_scrolled_up_stays_and_counts_what_is_new(visit: Callable[..., Page]) -> None:
    run = launch(behaviour="checkpoint", count=200, pause_s=0.05)
    page = visit(path_of(run))
    wait_until(lambda: len(numbers(page)) >= 50, what="more lines than fit")
    page.locator("#lines").evaluate("node => { node.scrollTop = 0 }")
    expect(page.locator("[data-follow]")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("[data-follow]")).to_contain_text("new", timeout=10_000)
    assert page.locator("#lines").evaluate("node => node.scrollTop") == 0
    page.keyboard.press("f")
    expect(page.locator("[data-follow]")).to_have_attribute("aria-pressed", "true")
    services.cancel(run.pk, by="ada")


def test_a_stubborn_run_is_cancelled_and_the_steps_are_shown(visit: Callable[..., Page]) -> None:
    run = services.launch(
        "scripted", configuration={"behaviour": "ignore_cancel"}, limits={"cancel_grace_s": 4, "kill_grace_s": 2}
    )
    page = visit(path_of(run))
    expect(page.locator("#lines li").first).to_be_visible(timeout=10_000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.keyboard.press("c")
    steps = page.locator("ol.run-cancelling")
    expect(steps).to_contain_text("SIGKILL")
    expect(steps.locator("[data-until]").last).to_have_text(re.compile(r"in \d+ s"))
    picture(page, "run-cancelling")
    expect(page.locator(".run-chip").first).to_have_text("Cancelled", timeout=30_000)
    expect(page.locator(".run-sentence")).to_contain_text("Cancelled by ada")
    expect(page.locator(".run-steps")).to_contain_text("All processes exited")


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(visit: Callable[..., Page]) -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 21))
    store_lines(attempt, [21], level=Level.ERROR, message="needle")
    page = visit(path_of(end_run(attempt)))
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(lambda url: "/lines/" in url and "text" not in url, hold)
    page.select_option("#level", "error")
    page.wait_for_timeout(200)
    page.fill("#text", "line 7")
    page.keyboard.press("Enter")
    expect(page.locator("#lines li")).to_have_count(0)
    assert held
    for route in held:
        with suppress(PlaywrightError):  # its request may be given up already
            route.continue_()
    page.wait_for_timeout(500)
    expect(page.locator("#lines li")).to_have_count(0)


def test_lines_are_filtered_and_searched_at_the_server(visit: Callable[..., Page]) -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 2001))
    store_lines(attempt, [2001], level=Level.ERROR, message="a \x1b[31mneedle\x1b[0m <b>here</b>")
    page = visit(path_of(end_run(attempt)))
    page.select_option("#level", "error")
    expect(page.locator("#lines li")).to_have_count(1)
    expect(page.locator(".ansi-fg-1")).to_have_text("needle")
    expect(page.locator("#lines b")).to_have_count(0)
    page.select_option("#level", "")
    page.keyboard.press("/")
    page.fill("#text", "LINE 7")
    page.keyboard.press("Enter")
    expect(page.locator("#lines li").first).to_contain_text("line 7")
    assert len(numbers(page)) == 111
    assert "text=LINE+7" in page.url


@pytest.fixture(scope="module")
def big(stack: Stack) -> Run:
    """A run with a million lines."""
    attempt = make_attempt()
    rows = [(attempt.run_id, 1, seq, str(EPOCH)[:19], 20, "log", f"line {seq}") for seq in range(1, MANY + 1)]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO runs_logline (run_id, attempt, seq, time, level, source, message)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            rows,
        )
    attempt.lines_stored = [[1, MANY]]
    attempt.save()
    return end_run(attempt)


def test_a_run_of_a_million_lines_is_read_at_any_place(visit: Callable[..., Page], big: Run) -> None:
    page = visit(path_of(big))
    assert numbers(page)[-1] == MANY
    page.fill("#go", "500,000")
    page.keyboard.press("Enter")
    expect(page.locator("#L1\\.500000")).to_be_in_viewport()
    page.locator("#lines").evaluate("node => { node.scrollTop = 0 }")
    wait_until(lambda: numbers(page)[0] < 499_900, what="older lines")
    for _ in range(12):
        page.locator("#lines").evaluate("node => { node.scrollTop = node.scrollHeight }")
        page.wait_for_timeout(150)
    found = numbers(page)
    assert len(found) <= 3000
    assert all(after == before + 1 for before, after in pairwise(found))
    page.click('[data-place="first"]')
    expect(page.locator("#L1\\.1")).to_be_visible()
    page.click('[data-place="newest"]')
    expect(page.locator(f"#L1\\.{MANY}")).to_be_visible()


def test_two_runs_are_compared_from_the_list(visit: Callable[..., Page]) -> None:
    runs = [launch(behaviour="ok", count=count) for count in (2, 3)]
    for run in runs:
        ended(run)
    page = visit("/admin/runs/run/")
    for run in runs:
        page.locator(f'input.action-select[value="{run.pk}"]').check()
    page.select_option('select[name="action"]', "compare_runs")
    page.locator('button[name="index"]').click()
    expect(page.locator("h2.run-name")).to_have_text("Compare 2 runs")
    expect(page.locator(".run-compared").first).to_contain_text("count")
    picture(page, "compare-light")


def test_a_list_and_a_home_page_follow_what_happens_elsewhere(visit: Callable[..., Page]) -> None:
    run = launch(behaviour="checkpoint", count=600, pause_s=0.1)
    listed, home = visit("/admin/runs/run/", color_scheme="dark"), visit("/admin/")
    row = listed.locator(f'.data-row:has(input[value="{run.pk}"])')
    expect(row.locator(".field-chip")).to_contain_text("Running", timeout=10_000)
    expect(home.locator(".run-now")).to_contain_text(f"#{run.pk}", timeout=10_000)
    picture(listed, "list-dark")
    picture(home, "home-light")
    services.cancel(run.pk, by="ada")
    expect(row.locator(".field-chip")).to_contain_text("Cancelled", timeout=20_000)
    expect(home.locator(f'.run-now a:has-text("#{run.pk}")')).to_have_count(0, timeout=20_000)


def test_a_run_page_works_without_javascript(visit: Callable[..., Page]) -> None:
    attempt = make_attempt()
    store_lines(attempt, range(1, 1201))
    page = visit(path_of(end_run(attempt)), java_script_enabled=False)
    expect(page.locator("#lines li").last).to_contain_text("line 1200")
    page.click('[data-place="older"]')
    expect(page.locator("#lines li").last).to_contain_text("line 700")
    page.fill("#go", "3")
    page.click("#lines-filter button")
    expect(page.locator("#L1\\.3")).to_be_visible()
