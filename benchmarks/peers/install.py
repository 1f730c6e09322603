"""Install the peers at pinned versions, each into an environment of its own below `var/benchmarks/peers`.

    python -m benchmarks.peers.install

Environments that exist are brought to the pinned versions.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.machine import ROOT

FOLDER = ROOT / "var" / "benchmarks" / "peers"
ENVIRONMENTS = ("rq", "celery")


def python(environment: str) -> Path:
    """Return the interpreter of an environment."""
    return FOLDER / environment / "bin" / "python"


def is_installed(environment: str) -> bool:
    return (FOLDER / environment / "installed").exists()


def main() -> None:
    for environment in ENVIRONMENTS:
        requirements = Path(__file__).with_name(f"requirements-{environment}.txt")
        folder = FOLDER / environment
        mark = folder / "installed"
        if mark.exists() and mark.read_text() == requirements.read_text():
            continue
        print(f"Installing {requirements.name} into {folder}.")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python(environment)), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
        if subprocess.run([*pip, "-r", str(requirements)], check=False).returncode:
            sys.exit(f"Cannot install {requirements.name}. Check the package index and the network, and run it again.")
        mark.write_text(requirements.read_text())


if __name__ == "__main__":
    main()
