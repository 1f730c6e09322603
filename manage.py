#!/usr/bin/env python3
"""Django's command line for Athanor: `./manage.py up` starts everything on one machine."""

import os
import sys
from pathlib import Path

BASE = Path(__file__).resolve().parent


def main() -> None:
    if sys.platform == "win32":
        raise SystemExit(
            "Athanor needs Linux or macOS. On Windows, run it inside WSL (the Windows Subsystem for Linux)."
        )
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "athanor.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        _use_the_environment_of_this_folder()
        raise SystemExit(f"Django cannot be imported ({error}). Run `make install` in {BASE} first.") from error
    from django.core.exceptions import ImproperlyConfigured

    from experiments import umask

    if sys.argv[1:2] != ["shell"]:  # which executes scripts of the user
        umask.make_private()

    try:
        _join_the_running_stack()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


def _use_the_environment_of_this_folder() -> None:
    """Restart with the Python of `make install`, unless it is this one: no environment needs to be activated."""
    python = BASE / ".venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix) != BASE / ".venv":
        os.execv(python, [str(python), str(BASE / "manage.py"), *sys.argv[1:]])  # noqa: S606  # Athanor's own program


def _join_the_running_stack() -> None:
    """Adopt the variables of the running stack that this shell does not set."""
    from athanor import running_stack

    try:
        adopted = running_stack.adopt(BASE, os.environ)
    except running_stack.SeveralStacks as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    os.environ.update(adopted)


if __name__ == "__main__":
    main()
