"""Logins in a process whose settings require a second factor: prints what happened in each case, as JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

LOGIN, PAGE, PASSWORD = "/admin/login/", "/admin/two-factor/", "blue horses run"


def code_of(secret: str, ahead: int = 0) -> str:
    from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time

    return str(format_hotp_value(hotp_value(secret, list(yield_hotp_counters_from_time())[1] + ahead)))


def log_in(name: str, otp: str = "", password: str = PASSWORD) -> tuple[Any, dict[str, Any]]:
    from django.test import Client

    client = Client(raise_request_exception=False)
    answer = client.post(f"{LOGIN}?next=/admin/", {"username": name, "password": password, "otp": otp})
    is_in = "_auth_user_id" in client.session
    home = client.get("/admin/") if is_in else None
    return client, {"status": answer.status_code, "is_in": is_in, "home": home and home.status_code}


def cases() -> dict[str, Any]:
    from allauth.mfa.models import Authenticator
    from axes.models import AccessAttempt
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from runs.live.access import user_of

    User.objects.create_superuser("ada", password=PASSWORD)
    client, found = log_in("ada")
    cookie = f"sessionid={client.session.session_key}"
    steps: dict[str, Any] = {"without": {**found, "to": client.get("/admin/runs/run/").headers["Location"]}}
    steps["stream"] = user_of(cookie).is_authenticated
    shown = client.get(PAGE).content.decode()
    secret = client.session["two_factor_secret"]
    steps["page"] = (secret in shown, "<svg" in shown)
    wrong = client.post(PAGE, {"password": "wrong", "code": code_of(secret)})
    steps["wrong password"] = ("Wrong password or code" in wrong.content.decode(), Authenticator.objects.count())
    done = client.post(PAGE, {"password": PASSWORD, "code": code_of(secret, -1)})
    recovery = done.content.decode().partition("<pre")[2].partition(">")[2].partition("</pre>")[0].split()
    steps["set up"] = (len(recovery), client.get("/admin/").status_code, user_of(cookie).is_authenticated)
    stored = Authenticator.objects.get(type="totp").data["secret"]
    steps["stored"] = (secret in stored, stored.startswith("fernet:"))
    steps["no code"] = log_in("ada")[1]
    steps["wrong code"] = log_in("ada", "000000")[1]
    steps["wrong password with code"] = log_in("ada", code_of(secret), "wrong")[1]
    now = code_of(secret)
    steps["code"] = log_in("ada", now)[1]
    steps["same code"] = log_in("ada", now)[1]
    steps["recovery"] = log_in("ada", recovery[3])[1]
    steps["same recovery"] = log_in("ada", recovery[3])[1]
    steps["counted"] = AccessAttempt.objects.get(username="ada").failures_since_start
    steps["flood"] = [log_in("ada", "000000")[1]["status"] for _ in range(12)][-1]
    AccessAttempt.objects.all().delete()
    call_command("reset_two_factor", "ada", stdout=sys.stderr)
    steps["reset"] = log_in("ada")[1]
    return steps


def main() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    from django.conf import settings

    settings.ALLOWED_HOSTS.append("testserver")
    call_command("migrate", verbosity=0)
    json.dump(cases(), sys.stdout)


if __name__ == "__main__":
    os.environ["ATHANOR_TWO_FACTOR"] = "required"
    os.environ["ATHANOR_SECRETS_KEY"] = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    main()
