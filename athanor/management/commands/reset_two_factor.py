"""Turn off two-factor authentication of a user who has lost the second factor."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Turn off two-factor authentication of a user. If it is required, the next login asks to set it up again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *_: Any, username: str, **__: Any) -> None:
        if settings.TWO_FACTOR == "off":
            raise CommandError("Two-factor authentication is off: ATHANOR_TWO_FACTOR is not set.", returncode=2)
        from allauth.mfa.models import Authenticator  # optional package

        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username!r}.", returncode=2)
        count, _ = Authenticator.objects.filter(user=user).delete()
        done = "Turned off two-factor authentication of" if count else "Two-factor authentication was already off for"
        self.stdout.write(f"{done} {username!r}.")
