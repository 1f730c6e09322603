"""System checks of the environment. Stable ids, each with a hint."""

from __future__ import annotations

import os
from typing import Any

from django.core import checks

from athanor.environment import unknown_names


@checks.register()
def check_environment_names(**_: Any) -> list[checks.CheckMessage]:
    """Return athanor.W001 for each misspelt variable, which would otherwise have no effect."""
    return [
        checks.Warning(
            f"The environment variable {name} is not used.",
            hint=f"Did you mean {near}?" if near else "See .env.example for all names.",
            id="athanor.W001",
        )
        for name, near in unknown_names(os.environ).items()
    ]
