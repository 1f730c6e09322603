"""System checks. Warnings only: a broken experiment must not keep the site from starting."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning, register  # noqa: A004  # Django's name

from experiments.registry import registry


@register()
def experiments_are_usable(**_: Any) -> list[CheckMessage]:
    """One warning for each problem of discovery: a broken module, an unusable class, a name used twice."""
    return [
        Warning(
            f"{problem.where}: {problem.reason}",
            hint=f"Until it is mended its experiments cannot be launched.\n{problem.traceback}",
            id="experiments.W001",
        )
        for problem in registry().problems
    ]
