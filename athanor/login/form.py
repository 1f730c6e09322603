"""Login form of the admin."""

from __future__ import annotations

import threading
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.urls import reverse
from unfold.forms import AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from athanor.login.oidc_settings import PROVIDER_ID
from athanor.login.throttle import refusal

_one = threading.Lock()


class LoginForm(AuthenticationForm):
    """Login form of the admin, with single sign-on and a second factor where they are enabled.

    Passwords are checked one at a time. So a burst of requests can neither pass the throttle before its failures are
    counted nor use all processors.
    """

    def __init__(self, request: Any = None, *arguments: Any, **values: Any) -> None:
        super().__init__(request, *arguments, **values)
        if settings.TWO_FACTOR != "off":
            attributes = {"autocomplete": "one-time-code", "class": " ".join(BASE_INPUT_CLASSES)}
            self.fields["otp"] = forms.CharField(
                label="One-time code",
                required=False,
                max_length=20,
                help_text="From your app, or a recovery code, if you have set up two-factor authentication.",
                widget=forms.TextInput(attrs=attributes),
            )

    @property
    def sign_on_url(self) -> str:
        return reverse("openid_connect_login", args=[PROVIDER_ID]) if settings.OIDC else ""

    @property
    def sign_on_name(self) -> str:
        return settings.OIDC_NAME

    def clean(self) -> Any:
        with _one:
            return super().clean()

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        if settings.TWO_FACTOR == "off":
            return
        from athanor.login import two_factor  # needs an optional package

        if not two_factor.accepts(self.request, user, self.cleaned_data.get("otp", "")):
            if getattr(self.request, "axes_locked_out", False):
                raise self.get_invalid_login_error()
            raise ValidationError("Enter a valid one-time code. Each code works once.", code="otp")

    def get_invalid_login_error(self) -> ValidationError:
        if getattr(self.request, "axes_locked_out", False):
            return ValidationError(refusal(), code="locked_out")
        error: ValidationError = super().get_invalid_login_error()
        return error
