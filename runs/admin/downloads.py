"""Downloads of artifacts and lines. Browsers never treat files of experiments as pages of this site."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

from runs import formatting
from runs.admin.run_page.outcome import INLINE_IMAGES
from runs.folders import open_inside, run_folder
from runs.lines.reading import Wanted, every
from runs.lines.records import Line
from runs.models import Artifact, LogLine, Run
from runs.serializers import line_document

CHUNK_BYTES = 256 * 1024
PIECE_LINES = 1_000


def artifact(request: HttpRequest, row: Artifact) -> HttpResponseBase:
    """Send the file, inline if it is a plain image. Raises Http404 if it is missing or not in the run's folder."""
    file = opened(row)
    is_image = row.content_type in INLINE_IMAGES
    content_type = row.content_type if is_image else "application/octet-stream"
    response: HttpResponseBase
    if isinstance(request, ASGIRequest):  # a FileResponse would be read into memory as a whole
        response = StreamingHttpResponse(_pieces(file), content_type=content_type)
        response["Content-Length"] = str(os.fstat(file.fileno()).st_size)
    else:
        response = FileResponse(file, content_type=content_type)
    disposition = content_disposition_header(not is_image, Path(row.name).name)
    response["Content-Disposition"] = disposition or "attachment"
    return safe(response)


def opened(row: Artifact) -> BinaryIO:
    """Open the artifact's file, which must be in the run's folder. Raises Http404."""
    try:
        return open_inside(run_folder(row.run_id), row.path)
    except FileNotFoundError as error:
        raise Http404(f"The file of artifact {row.name!r} no longer exists.") from error
    except (OSError, ValueError) as error:
        raise Http404(f"Artifact {row.name!r} is not a file of its run.") from error


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece


def lines(request: HttpRequest, run: Run, form: str, wanted: Wanted) -> HttpResponseBase:
    """Send all lines as a file, `txt` or `jsonl`, page by page, in bounded memory."""
    if form not in WRITERS:
        raise Http404(f"Unknown format {form}. Use {' or '.join(WRITERS)}.")
    write, content_type = WRITERS[form]
    pieces: Any = _written(run.pk, wanted, write)
    if isinstance(request, ASGIRequest):
        pieces = _from_thread(pieces)
    response = StreamingHttpResponse(pieces, content_type=content_type)
    response["Content-Disposition"] = content_disposition_header(True, f"run-{run.pk}.{form}") or "attachment"
    return safe(response)


def _as_text(line: Line) -> str:
    moment = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds")
    metadata = f"  {formatting.exact_json(line.metadata)}" if line.metadata else ""
    return f"{moment} {formatting.level_name(line.level):8} {line.source:8} {line.message}{metadata}\n"


def _as_json(line: Line) -> str:
    return formatting.exact_json(line_document(line)) + "\n"


WRITERS: dict[str, tuple[Callable[[Line], str], str]] = {
    "txt": (_as_text, "text/plain; charset=utf-8"),
    "jsonl": (_as_json, "application/x-ndjson; charset=utf-8"),
}


def _written(run_id: int, wanted: Wanted, write: Callable[[Line], str]) -> Iterator[str]:
    lines = every(run_id, wanted=wanted)
    while piece := "".join(write(line) for line in islice(lines, PIECE_LINES)):
        yield piece


async def _from_thread(pieces: Iterator[str]) -> AsyncIterator[str]:
    while piece := await sync_to_async(_next)(pieces):
        yield piece


def _next(pieces: Iterator[str]) -> str:
    return next(pieces, "")


def whole_line(row: LogLine) -> HttpResponse:
    """Send one message in full, as plain text."""
    response = HttpResponse(row.message, content_type="text/plain; charset=utf-8")
    safe(response)
    return response


def safe(response: HttpResponseBase) -> HttpResponseBase:
    """Set headers against content sniffing, scripts and framing."""
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
