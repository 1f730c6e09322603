#!/usr/bin/env python
"""Django's command line for Athanor: `python manage.py up` starts everything on one machine."""

import os
import sys


def main() -> None:
    if sys.platform == "win32":
        raise SystemExit(
            "Athanor needs Linux or macOS. On Windows, run it inside WSL (the Windows Subsystem for Linux)."
        )
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "athanor.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            f"Django cannot be imported ({error}). Run `make install`, then use `.venv/bin/python manage.py`."
        ) from error
    from django.core.exceptions import ImproperlyConfigured

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
