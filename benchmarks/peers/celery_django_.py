"""Celery with isolation as a user writes it: a task starts a fresh process that sets up Django and executes the job."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks import work
from benchmarks.peers import celery_
from benchmarks.peers.celery_ import app

PROGRAM = """
import django, json, sys
django.setup()
from benchmarks import work
work.JOBS[sys.argv[1]](*json.loads(sys.argv[2]))
"""


def in_process(name: str) -> Any:
    def run(*values: Any) -> int:
        subprocess.run([sys.executable, "-c", PROGRAM, name, json.dumps(values)], check=True)
        return 1

    return run


tasks = {name: app.task(name=f"django.{name}")(in_process(name)) for name in work.JOBS}


def workers(number: int) -> list[list[str]]:
    return celery_.workers(number, "benchmarks.peers.celery_django_")


class Queue(celery_.Queue):
    tasks = tasks
