"""Sign-ons in a process whose settings have them: `sign_on_program.py` prints what happened in each case, as JSON.

The provider is in the same process, since the settings name its port.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from tests.oidc_provider import CLIENT, SECRET, Provider

LOGIN, SIGN_ON = "/admin/login/", "/sign-on/sso/"


def sign_on(provider: Provider, person: dict[str, Any], lies: dict[str, Any], **changed: str) -> dict[str, Any]:
    """Sign on as this person. `changed` replaces parameters of the address that the provider leads back to."""
    from django.contrib.auth.models import User
    from django.test import Client

    provider.person, provider.lies = {"sub": "1", "email": "ada@example.org", **person}, lies
    client = Client(raise_request_exception=False)
    led = client.post(f"{SIGN_ON}?next=/admin/runs/run/")
    callback = provider.authorize(led.headers["Location"])
    for name, value in changed.items():
        callback = re.sub(rf"\b{name}=[^&]*", f"{name}={value}", callback)
    answer = client.get(callback.removeprefix("http://testserver"))
    user = User.objects.filter(pk=client.session.get("_auth_user_id", 0)).first()
    page = client.get(LOGIN).content.decode()
    return {
        "status": answer.status_code,
        "to": answer.headers.get("Location"),
        "user": user and user.username,
        "groups": [group.name for group in user.groups.all()] if user else [],
        "is_superuser": bool(user and user.is_superuser),
        "said": [text for text in TEXTS if text in page],
    }


TEXTS = ("Single sign-on failed.", "Your account has no access yet.")


def cases(provider: Provider) -> dict[str, Any]:
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    User.objects.create_superuser("admin", email="ada@example.org")
    grace = {"sub": "2", "preferred_username": "grace"}
    found = {
        "page": "Log in with the laboratory" in Client().get(LOGIN).content.decode(),
        "policy": Client().get(LOGIN).headers["Content-Security-Policy"].count(provider.issuer),
        "get": Client().get(SIGN_ON).status_code,
        "unknown": Client(raise_request_exception=False).post("/sign-on/other/").status_code,
        "signup": Client().get("/sign-on/").headers["Location"],
        "first": sign_on(provider, {"preferred_username": "ada"}, {}),
        "again": sign_on(provider, {"preferred_username": "ada2"}, {}),
        "taken name": sign_on(provider, {"sub": "3", "preferred_username": "admin"}, {}),
        "other state": sign_on(provider, grace, {}, state="forged"),
        "other audience": sign_on(provider, grace, {"aud": "somebody"}),
        "other issuer": sign_on(provider, grace, {"iss": "https://evil.example.org"}),
        "expired": sign_on(provider, grace, {"exp": 1}),
        "other subject": sign_on(provider, grace, {"sub": "1"}),
        "denied": sign_on(provider, grace, {}, code="wrong"),
    }
    User.objects.filter(username="ada").update(is_active=False)
    found["disabled"] = sign_on(provider, {"preferred_username": "ada"}, {})
    settings.OIDC_GROUP = ""
    found["no group"] = sign_on(provider, grace, {})
    found["users"] = sorted(User.objects.values_list("username", flat=True))
    return found


def main() -> None:
    with Provider() as provider:
        own = {"ISSUER": provider.issuer, "CLIENT_ID": CLIENT, "CLIENT_SECRET": SECRET, "GROUP": "viewer"}
        os.environ.update({f"ATHANOR_OIDC_{name}": value for name, value in own.items()})
        os.environ["ATHANOR_OIDC_NAME"] = "the laboratory"
        import django
        from django.core.management import call_command

        django.setup()
        from django.conf import settings

        settings.ALLOWED_HOSTS.append("testserver")
        call_command("migrate", verbosity=0)
        json.dump(cases(provider), sys.stdout)


if __name__ == "__main__":
    main()
