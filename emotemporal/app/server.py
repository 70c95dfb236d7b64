"""What the server answers to which address."""

from __future__ import annotations

import html
import json
import secrets
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from emotemporal.app.folder import SessionFolder, new_id
from emotemporal.app.guard import TOKEN_HEADER, Guard
from emotemporal.app.results import (
    DOWNLOADS,
    PAGE,
    files_to_download,
    is_disk_full,
    overlay_path,
    render_page_to_keep,
    write_archive,
)
from emotemporal.app.uploads import NAME_HEADER, SUFFIXES, Limits, take_upload
from emotemporal.app.videos import Refusal, Video, Videos

_INDEX_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; "
    "img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The page has a policy of its own, more strict than this one, but which cannot say who may frame it.
_PAGE_POLICY = "object-src 'none'; connect-src 'none'; frame-ancestors 'self'"
# Should a browser take a video for a page, that one can do nothing.
_FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'self'"
_ASSETS = {
    "page.css": ("report", "text/css"),  # the report's look is this page's, too
    "app.css": ("app", "text/css"),
    "app.js": ("app", "text/javascript"),
    "camera.js": ("app", "text/javascript"),
    "server.js": ("app", "text/javascript"),
    "cards.js": ("app", "text/javascript"),
}
_MEDIA_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".avi": "video/x-msvideo",
    ".mkv": "video/x-matroska", ".webm": "video/webm", ".mpg": "video/mpeg", ".mpeg": "video/mpeg",
    ".wmv": "video/x-ms-wmv", ".flv": "video/x-flv", ".ts": "video/mp2t", ".3gp": "video/3gpp",
    ".ogv": "video/ogg", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png",
    ".webp": "image/webp", ".bmp": "image/bmp", ".tif": "image/tiff", ".tiff": "image/tiff",
}  # fmt: skip


def create_app(
    videos: Videos,
    session: SessionFolder,
    *,
    host: str = "127.0.0.1",
    limits: Limits | None = None,
    keep: Path | None = None,
) -> Starlette:
    """Return the app as any ASGI server runs it; `Worker` does the work.

    Args:
        videos: the queue.
        session: where uploads go.
        host: the address that the server listens on.
        limits: of uploads.
        keep: where results stay, for the page to say.
    """
    token = secrets.token_urlsafe(24)
    site = _Site(videos, session, limits or Limits(), keep, token)
    routes = [
        Route("/", site.index),
        Route("/assets/{name}", site.asset),
        Route("/api/videos", site.list_videos),
        Route("/api/videos", site.upload, methods=["POST"]),
        Route("/api/videos/{id}/cancel", site.cancel, methods=["POST"]),
        Route("/api/videos/{id}/forget", site.forget, methods=["POST"]),
        Route("/api/videos/{id}/overlay", site.make_overlay, methods=["POST"]),
        Route("/videos/{id}/report/{name}", site.report),
        Route("/videos/{id}/download/{key}", site.download),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, host=host, token=token)],
        exception_handlers={Refusal: _refuse, OSError: _refuse_if_full},
    )


def make_server(app: Starlette) -> uvicorn.Server:
    """Return what runs the app; on Ctrl-C and SIGTERM it waits a second for downloads."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


class _Site:
    def __init__(
        self, videos: Videos, session: SessionFolder, limits: Limits, keep: Path | None, token: str
    ) -> None:
        self._videos = videos
        self._session = session
        self._limits = limits
        self._keep = keep
        self._token = token

    # Where nothing is awaited, Starlette runs an answer in a thread of its own.

    def index(self, request: Request) -> Response:
        settings = {
            "token": self._token,
            "token_header": TOKEN_HEADER,
            "name_header": NAME_HEADER,
            "max_bytes": self._limits.max_bytes,
            "max_told": self._limits.told,
            "suffixes": sorted(SUFFIXES),
            "page": PAGE,
        }
        kept = "Videos and results are forgotten when the app ends."
        if self._keep is not None:
            kept = f"Videos and results are kept in {self._keep}."
        text = Template(_read_asset("app", "index.html")).substitute(
            settings=html.escape(json.dumps(settings)),
            accept=html.escape(",".join(sorted(SUFFIXES))),
            limit=html.escape(self._limits.told),
            kept=html.escape(kept),
        )
        return _with_policy(Response(text, media_type="text/html"), _INDEX_POLICY)

    def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            raise Refusal("there is no such file", 404)
        room, media_type = _ASSETS[name]
        return Response(_read_asset(room, name), media_type=media_type)

    def list_videos(self, request: Request) -> Response:
        return JSONResponse({"videos": self._videos.to_json()})

    async def upload(self, request: Request) -> Response:
        try:
            video = await take_upload(request, self._videos, self._session, self._limits)
        except ClientDisconnect:
            return Response(status_code=204)  # nobody reads it
        return JSONResponse({"id": video.id}, 201)

    def cancel(self, request: Request) -> Response:
        self._videos.cancel(self._find(request))
        return self.list_videos(request)

    def forget(self, request: Request) -> Response:
        self._videos.forget(self._find(request))
        return self.list_videos(request)

    def make_overlay(self, request: Request) -> Response:
        self._videos.make_overlay(self._find(request))
        return self.list_videos(request)

    def report(self, request: Request) -> Response:
        video = self._find_labelled(request)
        overlay = _overlay_of(video)
        served = {path.name: path for path in (video.results / PAGE, video.path, overlay)}
        path = served.get(request.path_params["name"])
        if path is None or not path.is_file():
            raise Refusal("there is no such file", 404)
        if path.name == PAGE:
            return _with_policy(FileResponse(path, media_type="text/html"), _PAGE_POLICY)
        return _with_policy(FileResponse(path, media_type=_MEDIA_TYPES[path.suffix]), _FILE_POLICY)

    def download(self, request: Request) -> Response:
        video, key = self._find_labelled(request), request.path_params["key"]
        if key == "report":
            name, text = render_page_to_keep(video)
            return _attached(Response(text.encode(), media_type="text/html"), name)
        if key == "zip":
            path = video.folder / f"{new_id()}.zip"
            remove = BackgroundTask(path.unlink, missing_ok=True)
            try:
                write_archive(video, path)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return FileResponse(path, filename=f"{video.stem}.zip", background=remove)
        suffix = _overlay_of(video).name.removeprefix("video") if key == "overlay" else ""
        if key in DOWNLOADS:
            suffix = DOWNLOADS[key].suffix
        name = f"{video.stem}{suffix}"
        found = files_to_download(video).get(name)
        if found is None:
            raise Refusal("there is no such file", 404)
        media_type = _MEDIA_TYPES[found.suffix] if key == "overlay" else "application/octet-stream"
        return _with_policy(FileResponse(found, filename=name, media_type=media_type), _FILE_POLICY)

    def _find(self, request: Request) -> Video:
        return self._videos.find(request.path_params["id"])

    def _find_labelled(self, request: Request) -> Video:
        video = self._find(request)
        if video.labelling.state != "done":
            raise Refusal(f"{video.name}: not labelled; there is nothing to show", 409)
        return video


def _overlay_of(video: Video) -> Path:
    return overlay_path(video, is_still=bool(video.summary.get("is_still")))


def _read_asset(room: str, name: str) -> str:
    return (files(f"emotemporal.{room}") / "assets" / name).read_text("utf-8")


def _with_policy(response: Response, policy: str) -> Response:
    response.headers["content-security-policy"] = policy
    return response


def _attached(response: Response, name: str) -> Response:
    response.headers["content-disposition"] = f"attachment; filename*=utf-8''{quote(name)}"
    return _with_policy(response, _FILE_POLICY)


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    # What is left of a body that nobody reads must not be taken for the next request.
    headers = {"connection": "close"} if error.status == 413 else None
    return JSONResponse({"error": str(error)}, error.status, headers=headers)


def _refuse_if_full(request: Request, error: Exception) -> Response:
    if not is_disk_full(error):
        raise error
    return JSONResponse({"error": "the disk is full; free some space, then try again"}, 507)
