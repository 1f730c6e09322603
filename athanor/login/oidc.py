"""Single sign-on: adapters and addresses for django-allauth. Imported only where it is enabled.

A user belongs to the pair of provider and `sub`. Names and e-mail addresses link nobody to an existing user, since a
provider may let users choose them.
"""

from __future__ import annotations

import logging
from typing import Any, NoReturn

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.openid_connect import views
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from runs import clients

FAILED = "Single sign-on failed. Try again, or ask an administrator."
NO_ACCESS = "Your account has no access yet. Ask an administrator."

log = logging.getLogger(__name__)


def back_to_login(request: HttpRequest, text: str = FAILED) -> HttpResponse:
    """Redirect to the login page with an error message."""
    messages.error(request, text)
    return HttpResponseRedirect(reverse("admin:login"))


class Accounts(DefaultSocialAccountAdapter):
    """Adapter of the users of the provider."""

    def on_authentication_error(self, request: HttpRequest, provider: Any, **reasons: Any) -> NoReturn:
        reason = reasons.get("exception") or reasons.get("error") or "no reason given"
        log.warning("failed sign-on: %r, address %s", str(reason)[:200], clients.address(request))
        raise ImmediateHttpResponse(back_to_login(request))

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Refuse a response whose userinfo and ID token have different subjects."""
        data = sociallogin.account.extra_data
        subjects = {part["sub"] for part in (data.get("userinfo"), data.get("id_token")) if part}
        if len(subjects) > 1 or sociallogin.state.get("process", "login") != "login":
            self.on_authentication_error(request, None, error="userinfo and id_token have different subjects")

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return True

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> User:
        """Create the user in the group of ATHANOR_OIDC_GROUP. Without that group, the user has no access."""
        group = Group.objects.filter(name=settings.OIDC_GROUP).first()
        sociallogin.user.is_staff = group is not None
        user: User = super().save_user(request, sociallogin, form)
        if group:
            user.groups.add(group)
        log.info("first sign-on of %r, group %r", user.username, group and group.name)
        return user


class Logins(DefaultAccountAdapter):
    """Adapter of their logins."""

    def pre_login(self, request: HttpRequest, user: User, **_: Any) -> HttpResponse | None:
        return None if user.is_active and user.is_staff else back_to_login(request, NO_ACCESS)

    def get_login_stages(self) -> list[str]:
        """Return no stages: the provider verifies e-mail addresses and the second factor."""
        return []

    def login(self, request: HttpRequest, user: User) -> None:
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return reverse("admin:index")

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return reverse("admin:index")

    def add_message(self, *_: Any, **__: Any) -> None:
        """Add no message: the next page is enough."""


urlpatterns = [
    path("sign-on/<str:provider_id>/", require_POST(views.login), name="openid_connect_login"),
    path("sign-on/<str:provider_id>/callback/", views.callback, name="openid_connect_callback"),
    # Targets of redirects of the package, in place of its own pages.
    path("sign-on/", back_to_login, name="account_login"),
    path("sign-on/", back_to_login, name="account_inactive"),
    path("sign-on/", back_to_login, name="account_signup"),
    path("sign-on/", back_to_login, name="socialaccount_login_cancelled"),
    path("sign-on/", back_to_login, name="socialaccount_login_error"),
    path("sign-on/", back_to_login, name="socialaccount_signup"),
]
