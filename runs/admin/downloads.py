"""Sending artifacts and single lines. A file that an experiment made is never taken for a page of this site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

from runs.admin.page import INLINE_IMAGES
from runs.erasing import run_folder
from runs.models import Artifact, LogLine

CHUNK_BYTES = 256 * 1024


def artifact(request: HttpRequest, row: Artifact) -> HttpResponseBase:
    """The file: shown if it is a plain image, else a download. Raises Http404 when it is gone or not the run's own."""
    path = located(row)
    is_image = row.content_type in INLINE_IMAGES
    content_type = row.content_type if is_image else "application/octet-stream"
    file = path.open("rb")
    response: HttpResponseBase
    if isinstance(request, ASGIRequest):  # a FileResponse would be read into memory as a whole
        response = StreamingHttpResponse(_pieces(file), content_type=content_type)
        response["Content-Length"] = str(path.stat().st_size)
    else:
        response = FileResponse(file, content_type=content_type)
    disposition = content_disposition_header(not is_image, Path(row.name).name)
    response["Content-Disposition"] = disposition or "attachment"
    return safe(response)


def located(row: Artifact) -> Path:
    """The artifact's file, which must be in the run's folder."""
    folder = run_folder(row.run_id).resolve()
    try:
        path = (folder / row.path).resolve(strict=True)
    except (OSError, ValueError) as error:
        raise Http404(f"The file of artifact {row.name!r} is gone.") from error
    if not path.is_relative_to(folder) or not path.is_file():
        raise Http404(f"Artifact {row.name!r} is no file of its run.")
    return path


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece


def whole_line(row: LogLine) -> HttpResponse:
    """One message in full, as plain text."""
    response = HttpResponse(row.message, content_type="text/plain; charset=utf-8")
    safe(response)
    return response


def safe(response: HttpResponseBase) -> HttpResponseBase:
    """Neither guessed at, nor run, nor framed."""
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
