"""Makes the pictures of the documents anew, from real runs on a throwaway stack: `make screenshots`. Needs chromium."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
BASE = FOLDER.parent.parent
WIDTH, HEIGHT = 1400, 1080
PATIENCE_S = 300.0
DARK = {"list"}
LOW = {"list": 620}
"""Of pictures that would be half empty."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ath-", dir="/tmp", ignore_cleanup_errors=True) as var:
        os.environ.update(ATHANOR_VAR=var, DJANGO_SETTINGS_MODULE="athanor.settings")
        sys.path.insert(0, str(BASE))
        from tests.servers import free_port

        port = free_port()
        with _up(port):
            _shoot(f"http://127.0.0.1:{port}")


@contextmanager
def _up(port: int) -> Iterator[None]:
    command = [sys.executable, str(BASE / "manage.py"), "up", "--no-demo", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=BASE) as process:
        assert process.stdout is not None
        try:
            for said in process.stdout:
                if "is up" in said:
                    break
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _shoot(site: str) -> None:
    import django

    django.setup()
    from playwright.sync_api import sync_playwright

    prepared = _prepare()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        try:
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            context.add_cookies([{"name": "sessionid", "value": prepared["session"], "url": site}])
            page = context.new_page()
            for name, path in prepared["pages"].items():
                page.set_viewport_size({"width": WIDTH, "height": LOW.get(name, HEIGHT)})
                page.emulate_media(color_scheme="dark" if name in DARK else "light")
                page.goto(site + path)
                page.wait_for_timeout(2500)
                page.screenshot(path=FOLDER / f"{name}.png")
                print(f"{name}.png")
        finally:
            browser.close()


def _prepare() -> dict[str, Any]:
    """Runs as somebody may have them; some end before the pictures are taken, some are still going on."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # playwright's loop runs in this thread; nothing else does
    from django.contrib.auth import get_user_model

    from runs import services
    from runs.models import Run

    user = get_user_model().objects.create_superuser("ada")
    common: dict[str, Any] = {"by": user, "via": "admin", "tags": ["sweep"], "seed": 7}
    done = []
    for rate in (0.002, 0.005, 0.02):
        configuration = {"epochs": 40, "learning_rate": rate}
        done.append(services.launch("digits", configuration=configuration, name=f"rate {rate}", **common))
    done.append(services.launch("monte_carlo_pi", name="darts", by=user, via="admin", seed=1))
    deadline = time.monotonic() + PATIENCE_S
    while Run.objects.active().exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    services.launch("digits", configuration={"epochs": 400}, name="the long one", by=user, via="admin", seed=3)
    live = services.launch("digits", configuration={"epochs": 120}, name="digits, live", by=user, via="admin", seed=5)
    while not Run.objects.filter(pk=live.pk, progress_current__gt=40).exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return {"session": _session(user), "pages": _pages(live, done)}


def _pages(live: Any, done: list[Any]) -> dict[str, str]:
    chosen = ",".join(str(run.pk) for run in done[:3])
    columns = "?columns=config.learning_rate&columns=result.best_accuracy"
    return {
        "run": f"/admin/runs/run/{live.pk}/change/",
        "compare": f"/admin/runs/run/compare/?runs={chosen}",
        "list": f"/admin/runs/run/{columns}",
    }


def _session(user: Any) -> str:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    return str(store.session_key)


if __name__ == "__main__":
    main()
