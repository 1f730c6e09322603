"""Static files of all installed apps, served from the apps' folders: there is no collected copy that could be stale."""

from __future__ import annotations

import os
from pathlib import Path

from django.apps import apps
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FRESH_S = 300
"""Seconds that a browser may cache a file; after that it revalidates by ETag."""


class AppStaticFiles(StaticFiles):
    """Serve files from the `static` folder of each app, in the order of INSTALLED_APPS."""

    def __init__(self) -> None:
        super().__init__()
        folders = (Path(config.path) / "static" for config in apps.get_app_configs())
        self.all_directories = [folder for folder in folders if folder.is_dir()]

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = f"public, max-age={FRESH_S}"
        return response
