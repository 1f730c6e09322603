"""System checks. Warnings only: a broken experiment must not keep the site from starting."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Info, Warning, register  # noqa: A004  # Django's name

from experiments import catalog
from experiments.catalog import Problem


@register()
def experiments_are_usable(**_: Any) -> list[CheckMessage]:
    """One warning for each problem of discovery: a broken module, an unusable class, a name used twice.

    Discovery runs in a separate process, since an author's module may do anything when it is imported.
    """
    return [_message(problem) for problem in catalog.examined().problems]


def _message(problem: Problem) -> CheckMessage:
    text = f"{problem.where}: {problem.reason}"
    if problem.is_notice:
        return Info(text, id="experiments.I001")
    return Warning(text, hint=_hint(problem), id="experiments.W001")


def _hint(problem: Problem) -> str:
    """Consequence of the problem, and its traceback unless the message contains it all."""
    remark = "Until it is fixed, its experiments cannot be launched."
    return remark if problem.traceback.strip() == problem.reason else f"{remark}\n{problem.traceback}"
