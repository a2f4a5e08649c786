"""`curate review`: the report as a local page on which people decide about each image that it shows.

The server listens on 127.0.0.1 only, and every address begins with a token that only the user who started it has.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from curate.audit.decisions import Stale
from curate.errors import CouldNotFinish, InputError, WriteError
from curate.reports.html import policy
from curate.reports.thumbnails import ThumbnailSize
from curate.review.session import BadRequest, ReviewSession, as_json, script

HOST = "127.0.0.1"
CACHED, LARGEST_BODY = 2000, 16_384
SAFE_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def application(session: ReviewSession, token: str, hosts: frozenset[str]) -> Starlette:
    """Return the web application: the page, its pictures, and the decisions, all below `/<token>/`.

    Args:
        session: see `review_session`.
        token: part of every address.
        hosts: values of the Host header that are answered: no other name may lead here.
    """
    pictures = lru_cache(CACHED)(session.picture)
    headers = {"content-security-policy": policy(beside=False, review_script=script()) + "; frame-ancestors 'none'"}

    async def page(request: Request) -> Response:
        return HTMLResponse(await run_in_threadpool(session.html), headers=headers)

    async def picture(request: Request) -> Response:
        size = request.path_params["size"]
        exists = size in set(ThumbnailSize)
        data = await run_in_threadpool(pictures, request.path_params["row"], ThumbnailSize(size)) if exists else None
        return Response(data, media_type="image/webp") if data else Response(status_code=404)

    async def decisions(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(session.state))

    async def decide(request: Request) -> Response:
        status, body = await _decide(session, request)
        return JSONResponse(body, status)

    routes = {"/": page, "/picture/{row:int}/{size}": picture, "/decisions": decisions}
    return Starlette(
        routes=[
            *(Route(f"/{{token}}{path}", _authorized(endpoint, token, hosts)) for path, endpoint in routes.items()),
            Route("/{token}/decide", _authorized(decide, token, hosts), methods=["POST"]),
        ]
    )


Endpoint = Callable[["Request"], Awaitable["Response"]]


def _authorized(endpoint: Endpoint, token: str, hosts: frozenset[str]) -> Endpoint:
    """Return an endpoint that answers only requests with the token and the right host, not from another site."""

    async def authorized(request: Request) -> Response:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        has_token = secrets.compare_digest(request.path_params["token"].encode(), token.encode())
        from_here = host in hosts and origin in (None, f"http://{host}")
        response = await endpoint(request) if has_token and from_here else Response("not found", 404)
        response.headers.update(SAFE_HEADERS)
        return response

    return authorized


async def _decide(session: ReviewSession, request: Request) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the JSON object that answer a change."""

    try:
        return 200, as_json(await run_in_threadpool(session.decide, await _body(request)))
    except BadRequest as error:
        return 400, {"error": str(error)}
    except Stale as stale:
        return 409, as_json(stale.current)
    except (InputError, WriteError) as error:
        return 500, {"error": str(error)}


async def _body(request: Request) -> Mapping[str, Any]:
    """Return the JSON object of a request.

    Raises:
        BadRequest: it is no JSON object, is too large, or is not declared as JSON, which forms of other sites cannot.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise BadRequest("the body must be JSON")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_BODY:
            raise BadRequest("the body is too large")
    try:
        body = json.loads(data)
    except ValueError as error:
        raise BadRequest("the body must be JSON") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


class ReviewServer:
    """Serves a review session when called, until it is stopped or the user presses Ctrl-C."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, lifespan="off")
        self._server, self._listener = uvicorn.Server(config), listener

    def __call__(self) -> None:
        self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """End the call; for other threads."""
        self._server.should_exit = True


@contextmanager
def listening(session: ReviewSession, port: int = 0) -> Iterator[tuple[str, ReviewServer]]:
    """Give the address of a review page and the server that answers there once it is called.

    Args:
        session: see `review_session`.
        port: 0 for any that is free.

    Raises:
        CouldNotFinish: the port is taken.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise CouldNotFinish(f"--port {port}: {error.strerror}; leave --port out to take a free one") from error
        listener.listen()
        token, number = secrets.token_urlsafe(24), listener.getsockname()[1]
        hosts = frozenset((f"{HOST}:{number}", f"localhost:{number}"))
        yield f"http://{HOST}:{number}/{token}/", ReviewServer(application(session, token, hosts), listener)
