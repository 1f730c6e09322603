"""Settings of two-factor authentication, from the environment. Imports nothing of the optional package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from django.core.exceptions import ImproperlyConfigured

NAME, MODES = "ATHANOR_TWO_FACTOR", ("off", "optional", "required")
APPS = ["allauth", "allauth.account", "allauth.mfa"]
SETTINGS: dict[str, Any] = {
    "MFA_ADAPTER": "athanor.login.two_factor.Codes",
    "MFA_SUPPORTED_TYPES": ["totp", "recovery_codes"],
    "MFA_TOTP_TOLERANCE": 1,
    "MFA_TOTP_ISSUER": "Athanor",
}


def problems(environ: Mapping[str, str]) -> list[str]:
    """Return why configured two-factor authentication does not work; empty if it works or is off."""
    requested = environ.get(NAME) or "off"
    if requested not in MODES:
        return [f"{NAME} is {requested!r}. Use {', '.join(MODES[:-1])} or {MODES[-1]}."]
    if requested != "off" and (find_spec("allauth") is None or find_spec("qrcode") is None):
        return ["The package django-allauth[mfa] is not installed."]
    return []


def refuse_problems(environ: Mapping[str, str]) -> None:
    """Raise ImproperlyConfigured in a web process, rather than let users log in with a password alone."""
    for problem in problems(environ):
        raise ImproperlyConfigured(problem)


def mode(environ: Mapping[str, str]) -> str:
    return "off" if problems(environ) else environ.get(NAME) or "off"
