"""System checks. Warnings only: a broken experiment must not keep the site from starting."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning, register  # noqa: A004  # Django's name

from experiments.discovery import Problem
from experiments.registry import registry


@register()
def experiments_are_usable(**_: Any) -> list[CheckMessage]:
    """One warning for each problem of discovery: a broken module, an unusable class, a name used twice."""
    return [
        Warning(f"{problem.where}: {problem.reason}", hint=_hint(problem), id="experiments.W001")
        for problem in registry().problems
    ]


def _hint(problem: Problem) -> str:
    """What follows from it, and the traceback unless the message has said all."""
    remark = "Until it is mended its experiments cannot be launched."
    return remark if problem.traceback.strip() == problem.reason else f"{remark}\n{problem.traceback}"
