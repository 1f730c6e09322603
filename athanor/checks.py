"""System checks of the environment. Stable ids, each with a hint."""

from __future__ import annotations

import os
from typing import Any

from django.core import checks

from athanor.environment import unknown_names


@checks.register()
def environment_is_known(**_: Any) -> list[checks.CheckMessage]:
    """athanor.W001: a misspelt variable is otherwise a setting that silently does nothing."""
    return [
        checks.Warning(
            f"The environment variable {name} is read nowhere.",
            hint=f"Did you mean {near}?" if near else "See .env.example for those that are.",
            id="athanor.W001",
        )
        for name, near in unknown_names(os.environ).items()
    ]
