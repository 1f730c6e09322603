"""System checks of the environment. Stable ids, each with a hint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks

from athanor.environment import unknown_names
from athanor.exposed import exposed
from athanor.login import oidc_settings, two_factor_settings
from experiments import sealing


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


@checks.register()
def check_private(**_: Any) -> list[checks.CheckMessage]:
    """Return athanor.W002 for each file or folder of Athanor that other users of the machine can read or change."""
    return [
        checks.Warning(
            f"Other users of this machine have permissions on {each.path} (mode {each.mode:03o}).",
            hint=each.remedy,
            id="athanor.W002",
        )
        for each in exposed(Path(settings.VAR), settings.DATABASES["default"])
    ]


@checks.register(checks.Tags.security)
def check_sign_on(**_: Any) -> list[checks.CheckMessage]:
    """Return athanor.E020 for each reason why the configured single sign-on is off."""
    hint = f"Set {', '.join(oidc_settings.NEEDED)}, and install requirements-sign-in.txt; or unset ATHANOR_OIDC_*."
    return [
        checks.Error(f"Single sign-on is off. {problem}", hint=hint, id="athanor.E020")
        for problem in oidc_settings.problems(os.environ)
    ]


@checks.register(checks.Tags.security)
def check_two_factor(**_: Any) -> list[checks.CheckMessage]:
    """Return athanor.E021 if the configured two-factor authentication is off."""
    hint = f"Set {two_factor_settings.NAME} to off, optional or required, and install requirements-sign-in.txt."
    return [
        checks.Error(f"Two-factor authentication is off. {problem}", hint=hint, id="athanor.E021")
        for problem in two_factor_settings.problems(os.environ)
    ]


@checks.register(checks.Tags.security)
def check_secrets_key(**_: Any) -> list[checks.CheckMessage]:
    """Return athanor.E010 for an invalid ATHANOR_SECRETS_KEY, athanor.W010 if it is missing in production."""
    hint = "Use `openssl rand -base64 32 | tr +/ -_`; then run `manage.py rotate_secrets` to encrypt stored secrets."
    try:
        if sealing.cipher() is None and settings.PRODUCTION:
            text = "ATHANOR_SECRETS_KEY is not set: secrets of configurations are stored unencrypted."
            return [checks.Warning(text, hint=hint, id="athanor.W010")]
    except sealing.InvalidKey as error:
        return [checks.Error(str(error), hint=hint, id="athanor.E010")]
    return []
