"""App of the admin without its autodiscovery: only a process that shows pages loads the admin modules, with its URLs.

Workers, beat, commands and children start faster for it, and need less memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class AdminConfig(SimpleAdminConfig):
    """`athanor.urls` calls `admin.autodiscover()`."""

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_registered, checks.Tags.admin)


def check_registered(app_configs: Any, **options: Any) -> list[checks.CheckMessage]:
    """Load the URLs, and with them all admin classes, then check these as Django does."""
    import_module(settings.ROOT_URLCONF)
    return check_admin_app(app_configs, **options)
