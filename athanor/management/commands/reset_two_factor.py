"""Turn off the second factor of a user who has lost it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Turn off two-factor authentication of a user. Where it is required, the next login leads to its set-up."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *_: Any, username: str, **__: Any) -> None:
        if settings.TWO_FACTOR == "off":
            raise CommandError("Two-factor authentication is off: ATHANOR_TWO_FACTOR is not set.", returncode=2)
        from allauth.mfa.models import Authenticator  # optional

        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username!r}.", returncode=2)
        count, _ = Authenticator.objects.filter(user=user).delete()
        self.stdout.write(f"{'Turned off' if count else 'There was no'} two-factor authentication of {username!r}.")
