"""Login form of the admin."""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.urls import reverse
from unfold.forms import AuthenticationForm

from athanor.login.oidc_settings import PROVIDER_ID
from athanor.login.throttle import refusal

_one = threading.Lock()


class LoginForm(AuthenticationForm):
    """Admin's form, with one password checked at a time.

    So a burst of requests at once cannot pass the throttle before its failures are counted, nor use all processors.
    """

    @property
    def sign_on_url(self) -> str:
        return reverse("openid_connect_login", args=[PROVIDER_ID]) if settings.OIDC else ""

    @property
    def sign_on_name(self) -> str:
        return settings.OIDC_NAME

    def clean(self) -> Any:
        with _one:
            return super().clean()

    def get_invalid_login_error(self) -> ValidationError:
        if getattr(self.request, "axes_locked_out", False):
            return ValidationError(refusal(), code="locked_out")
        error: ValidationError = super().get_invalid_login_error()
        return error
