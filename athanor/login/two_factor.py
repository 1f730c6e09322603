"""Two-factor authentication of local users: one-time codes of an app, and recovery codes, by django-allauth.

Users of single sign-on use the second factor of their provider. Imported only where it is enabled.
"""

from __future__ import annotations

import logging
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter, get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import generate_totp_secret
from cryptography.fernet import InvalidToken
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.safestring import mark_safe
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from athanor.middleware import Handler
from experiments import sealing
from runs.sessions import LIMITED

SECRET = "two_factor_secret"  # noqa: S105  # name in the session

log = logging.getLogger(__name__)


class Codes(DefaultMFAAdapter):
    """Storage of secrets, encrypted if ATHANOR_SECRETS_KEY is set."""

    def encrypt(self, text: str) -> str:
        cipher = sealing.cipher()
        return f"fernet:{cipher.encrypt(text.encode()).decode()}" if cipher else text

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret. If its key is lost, return a random one, which matches no code."""
        kind, _, token = encrypted_text.partition(":")
        if kind != "fernet":
            return encrypted_text
        try:
            cipher = sealing.cipher()
            if cipher is not None:
                return str(cipher.decrypt(token.encode()).decode())
        except InvalidToken:
            pass
        log.error("Cannot decrypt a second factor: ATHANOR_SECRETS_KEY lacks its key. Use `reset_two_factor`.")
        return str(generate_totp_secret())


def is_set_up(user: Any) -> bool:
    return bool(Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists())


def accepts(request: HttpRequest, user: User, code: str) -> bool:
    """Return whether the user has no second factor or the code is valid. A failure is counted."""
    authenticators = list(Authenticator.objects.filter(user=user))
    if not any(each.type == Authenticator.Type.TOTP for each in authenticators):
        return True
    if code and any(each.wrap().validate_code(code) for each in authenticators):
        encrypt_again(authenticators)
        return True
    user_login_failed.send(__name__, credentials={"username": user.get_username()}, request=request)
    return False


def encrypt_again(authenticators: list[Authenticator]) -> None:
    """Encrypt the secrets with the first key, so that the other keys can be removed later."""
    if sealing.cipher() is None:
        return
    adapter = get_adapter()
    for each in authenticators:
        each.refresh_from_db()
        for name in each.data.keys() & {"secret", "seed"}:
            each.data[name] = adapter.encrypt(adapter.decrypt(each.data[name]))
        each.save(update_fields=["data"])


@receiver(user_logged_in)
def limit(request: HttpRequest, user: User, **_: Any) -> None:
    """Limit the session to the page of the second factor if one is required and not set up."""
    if settings.TWO_FACTOR == "required" and user.has_usable_password() and not is_set_up(user):
        request.session[LIMITED] = True


class OnlySetUp:
    """Middleware that redirects a limited session to the page of the second factor."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        open_to_all = (reverse("two_factor"), reverse("admin:logout"), reverse("admin:login"))
        if request.session.get(LIMITED) and request.path not in open_to_all:
            return redirect("two_factor")
        return self.get_response(request)


class SecondFactorForm(forms.Form):
    """Form to set up or turn off the second factor. Needs the password and a code."""

    password = forms.CharField(widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"}))
    code = forms.CharField(
        label="One-time code", max_length=20, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code"})
    )

    def __init__(self, request: HttpRequest, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._request = request

    def clean(self) -> dict[str, Any]:
        if not self.errors and not self._is_valid(self.cleaned_data["password"], self.cleaned_data["code"]):
            raise forms.ValidationError("Wrong password or code. Each code works once.")
        return self.cleaned_data

    def _is_valid(self, password: str, code: str) -> bool:
        """Check both like a login, so that failures are counted and limited."""
        name = self._request.user.get_username()
        if authenticate(self._request, username=name, password=password) != self._request.user:
            return False
        authenticators = list(Authenticator.objects.filter(user=self._request.user)) or [new(self._request)]
        if any(each.wrap().validate_code(code) for each in authenticators):
            return True
        user_login_failed.send(__name__, credentials={"username": name}, request=self._request)
        return False


def new(request: HttpRequest) -> Authenticator:
    """Return a new authenticator, which is not stored yet. Its secret is kept in the session."""
    secret = request.session.setdefault(SECRET, generate_totp_secret())
    data = {"secret": get_adapter().encrypt(secret)}
    return Authenticator(user=request.user, type=Authenticator.Type.TOTP, data=data)


def page(request: HttpRequest) -> HttpResponse:
    """Set up or turn off the second factor of the user."""
    was_set_up = is_set_up(request.user)
    form = SecondFactorForm(request, request.POST if request.method == "POST" else None)
    recovery: list[str] = []
    if form.is_valid():
        if was_set_up:
            Authenticator.objects.filter(user=request.user).delete()
            messages.success(request, "Two-factor authentication is off.")
            limit(request, request.user)  # type: ignore[arg-type]  # the page needs a login
            return redirect("two_factor")
        recovery = activate(request)
    context = {
        **admin.site.each_context(request),
        "title": "Two-factor authentication",
        "form": form,
        "is_local": request.user.has_usable_password(),  # type: ignore[union-attr]  # as above
        "is_set_up": was_set_up,
        "recovery": recovery,
    }
    if not was_set_up and not recovery:
        secret, adapter = new(request) and request.session[SECRET], get_adapter()
        svg = adapter.build_totp_svg(adapter.build_totp_url(request.user, secret)).partition("<svg ")[2]
        named = f'<svg role="img" aria-label="QR code of the key" {svg}'
        context |= {"secret": secret, "svg": mark_safe(named)}  # noqa: S308  # nosec B308  # made here
    return TemplateResponse(request, "athanor/two_factor.html", context)


@transaction.atomic
def activate(request: HttpRequest) -> list[str]:
    """Store the second factor, and return its recovery codes."""
    new(request).save()
    codes: list[str] = RecoveryCodes.activate(request.user).generate_codes()
    del request.session[SECRET]
    request.session.pop(LIMITED, None)
    return codes


urlpatterns = [path("admin/two-factor/", admin.site.admin_view(page), name="two_factor")]
