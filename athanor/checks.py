"""System checks of the environment. Stable ids, each with a hint."""

from __future__ import annotations

import os
from typing import Any

from django.core.checks import CheckMessage, Warning, register

from athanor.environment import unknown_names


@register()
def environment_is_known(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """athanor.W001: a misspelt variable is otherwise a setting that silently does nothing."""
    return [
        Warning(
            f"The environment variable {name} is read nowhere.",
            hint=f"Did you mean {near}?" if near else "See .env.example for those that are.",
            id="athanor.W001",
        )
        for name, near in unknown_names(os.environ).items()
    ]
