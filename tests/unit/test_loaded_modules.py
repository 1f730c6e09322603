"""Modules that processes do without, for the memory that each of them would cost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CHILD = "import django; django.setup(); import runs.child.child"
WORKER = "from athanor.celery import app; app.loader.init_worker(); import runs.worker.runtime"
PAGES = {"runs.admin", "experiments.admin", "unfold.admin", "django.contrib.admin.sites"}


@pytest.mark.parametrize(
    ("program", "role", "needless"),
    [(CHILD, "child", PAGES | {"celery", "kombu", "redis"}), (WORKER, "", PAGES - {"django.contrib.admin.sites"})],
    ids=["child", "worker"],
)
def test_a_process_loads_no_pages(program: str, role: str, needless: set[str]) -> None:
    printing = f"{program}; import sys; print(*sorted(sys.modules))"
    environ = {**os.environ, "ATHANOR_ROLE": role, "DJANGO_SETTINGS_MODULE": "athanor.settings"}
    loaded = subprocess.run([sys.executable, "-c", printing], env=environ, check=True, capture_output=True, text=True)
    assert needless.isdisjoint(loaded.stdout.split())
