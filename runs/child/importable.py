"""Packages that make experiments of folders importable in every process that a run starts.

Their modules are named `athanor_folder_<digest>.<module>`, which does not exist on disk: loky, dask or a program that
the experiment starts could not import the functions that they receive. So the fork server writes a package per folder
into `var/imports`, and adds that folder to `sys.path` and PYTHONPATH. It contains nothing else, so it hides no module
of another program. The package's file adds the experiments' folder and Athanor itself to the end of `sys.path` of the
process that imports it.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import runs
from experiments.conf import experiment_paths
from experiments.folders import package_of
from experiments.umask import PRIVATE_FOLDER
from runs.conf import runs_settings

PROJECT = Path(runs.__file__).resolve().parent.parent

logger = logging.getLogger(__name__)

_PACKAGE = '''"""Experiments of {folder}. Written by Athanor for processes that a run starts."""
import sys

__path__ = [{folder!r}]
sys.path += [entry for entry in ({folder!r}, {project!r}) if entry not in sys.path]
'''


def write_packages() -> str | None:
    """Write a package for each folder of experiments. Return their parent folder, or None if that is not possible."""
    imports = (runs_settings().var / "imports").absolute()
    try:
        for folder in experiment_paths():
            _write(imports / package_of(folder), str(folder))
    except OSError as error:
        logger.warning("Processes started by runs cannot import experiments of folders: %s", error)
        return None
    if str(imports) not in sys.path:
        sys.path.append(str(imports))
    return str(imports)


def _write(package: Path, folder: str) -> None:
    text = _PACKAGE.format(folder=folder, project=str(PROJECT))
    file = package / "__init__.py"
    if file.exists() and file.read_text() == text:
        return
    package.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    draft = package / f".{os.getpid()}.py"
    draft.write_text(text)
    draft.replace(file)
