"""`curate review`: the report as a page on this machine, on which people decide about each image that it shows.

The server listens on 127.0.0.1 alone, and every address begins with a token that only who started it knows. An
image is asked for by its row in the audit, never by a path, and comes decoded and made small, never as a file.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from curate.errors import CouldNotFinish, InputError, UsageError, WriteError
from curate.reports.decisions import LONGEST_NOTE, Decided, Decision, Decisions, Stale, hashes_of
from curate.reports.html import Page, policy, prepare, render
from curate.reports.leftovers import Leftovers
from curate.reports.originals import Originals, originals
from curate.reports.parquet import Audit
from curate.reports.thumbnails import Kind, Thumbnails, encode_all

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"
CACHED, LARGEST_BODY = 2000, 16_384
EXTRA_MISSING = "review needs starlette and uvicorn: pip install 'curate[review]'"
SAFE_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class BadRequest(Exception):
    """A request that the page itself would not make."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What lies on the reviewer's desk: the page, the images and the decisions of one audit."""

    page: Page
    images: Originals
    left: Leftovers
    decisions: Decisions

    def html(self) -> str:
        """Return the page; its thumbnails are addresses below the page's own."""
        wanted = self.page.wanted if self.images.there else self.left.wanted
        addresses = {(row, kind): f"picture/{row}/{kind}" for row, kinds in wanted.items() for kind in kinds}
        return render(self.page, Thumbnails(addresses=addresses), self.images, review={"decisions": self.state()})

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the decisions by row, as JSON values."""
        row_of = self.page.pages.row_of
        return {str(row_of[path]): as_json(found) for path, found in self.decisions.all().items() if path in row_of}

    def picture(self, row: int, kind: Kind) -> bytes | None:
        """Return a thumbnail as WebP; None where the page shows none such or there is no picture."""
        wanted = self.page.wanted if self.images.there else self.left.wanted
        if kind not in wanted.get(row, ()):
            return None
        made = encode_all(row, (kind,), self.images.picture if self.images.there else self.left.picture)
        return None if isinstance(made, str) else made[kind]

    def decide(self, asked: Mapping[str, Any]) -> Decided:
        """Change a decision as a page asks for it.

        Raises:
            BadRequest: it asks for something that no page would.
            Stale: another change came first.
        """
        row, decision, note, seen = (asked.get(key) for key in ("row", "decision", "note", "revision"))
        shown = self.page.pages.shown
        if not (isinstance(row, int) and isinstance(seen, int) and isinstance(note, str) and row in shown):
            raise BadRequest("row, decision, note and revision of an image of the page are due")
        if decision not in set(Decision) or len(note) > LONGEST_NOTE:
            raise BadRequest("the decision is keep, reject, unsure or empty, the note not longer than 2,000 characters")
        return self.decisions.decide(self.page.pages.images[row]["path"], Decision(decision), note, seen=seen)


def as_json(decided: Decided) -> dict[str, Any]:
    """Return a decision as JSON values."""
    return {"decision": decided.decision.value, "note": decided.note, "revision": decided.revision}


def desk(audit: Audit, dataset: Path | None = None) -> Desk:
    """Lay out an audit for review.

    Raises:
        UsageError: `dataset` is no folder.
        InputError: `decisions.parquet` is damaged.
    """
    if audit.path is None:
        raise UsageError("an audit that was not written cannot be reviewed")
    decisions = Decisions(audit.path, hashes_of(audit))
    page = prepare(audit, frozenset(decisions.all()))
    return Desk(
        page=page, images=originals(audit, dataset), left=Leftovers(page.pages, audit.path), decisions=decisions
    )


def application(desk: Desk, token: str, hosts: frozenset[str]) -> Starlette:
    """Return the web application: the page, its pictures, and the decisions, all below `/<token>/`.

    Args:
        hosts: values of the Host header that are answered: no other name may lead here.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    pictures = lru_cache(CACHED)(desk.picture)
    headers = {"content-security-policy": policy(beside=False, review=True) + "; frame-ancestors 'none'"}

    async def page(request: Request) -> Response:
        return HTMLResponse(await run_in_threadpool(desk.html), headers=headers)

    async def picture(request: Request) -> Response:
        kind = request.path_params["kind"]
        known = kind in set(Kind)
        data = await run_in_threadpool(pictures, request.path_params["row"], Kind(kind)) if known else None
        return Response(data, media_type="image/webp") if data else Response(status_code=404)

    async def decisions(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(desk.state))

    async def decide(request: Request) -> Response:
        status, said = await _decide(desk, request)
        return JSONResponse(said, status)

    routes = {"/": page, "/picture/{row:int}/{kind}": picture, "/decisions": decisions}
    return Starlette(
        routes=[
            *(Route(f"/{{token}}{path}", _guard(answer, token, hosts)) for path, answer in routes.items()),
            Route("/{token}/decide", _guard(decide, token, hosts), methods=["POST"]),
        ]
    )


Answer = Callable[["Request"], Awaitable["Response"]]


def _guard(answer: Answer, token: str, hosts: frozenset[str]) -> Answer:
    """Answer only who knows the token, came by the right name, and not from another site's page."""
    from starlette.responses import Response

    async def guarded(request: Request) -> Response:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        known = secrets.compare_digest(request.path_params["token"].encode(), token.encode())
        from_here = host in hosts and origin in (None, f"http://{host}")
        made = await answer(request) if known and from_here else Response("not found", 404)
        made.headers.update(SAFE_HEADERS)
        return made

    return guarded


async def _decide(desk: Desk, request: Request) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the JSON object that answer a change."""
    from starlette.concurrency import run_in_threadpool

    try:
        return 200, as_json(await run_in_threadpool(desk.decide, await _body(request)))
    except BadRequest as error:
        return 400, {"error": str(error)}
    except Stale as stale:
        return 409, as_json(stale.current)
    except (InputError, WriteError) as error:
        return 500, {"error": str(error)}


async def _body(request: Request) -> Mapping[str, Any]:
    """Return the JSON object of a request.

    Raises:
        BadRequest: it is none, is too large, or is not declared as JSON, as a form of another site could not.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise BadRequest("JSON is due")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_BODY:
            raise BadRequest("too large")
    try:
        asked = json.loads(data)
    except ValueError as error:
        raise BadRequest("JSON is due") from error
    if not isinstance(asked, dict):
        raise BadRequest("a JSON object is due")
    return asked


class Server:
    """Answers for a desk when it is called, until it is stopped or the user presses Ctrl-C."""

    def __init__(self, app: Starlette, door: socket.socket) -> None:
        import uvicorn

        config = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, lifespan="off")
        self._server, self._door = uvicorn.Server(config), door

    def __call__(self) -> None:
        self._server.run(sockets=[self._door])

    def stop(self) -> None:
        """End the call; for other threads."""
        self._server.should_exit = True


@contextmanager
def listening(desk: Desk, port: int = 0) -> Iterator[tuple[str, Server]]:
    """Give the address of a review page and the server that answers there once it is called.

    Args:
        port: 0 for any that is free.

    Raises:
        CouldNotFinish: the extra is not installed, or the port is taken.
    """
    if not all(find_spec(name) for name in ("starlette", "uvicorn")):
        raise CouldNotFinish(EXTRA_MISSING)
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((HOST, port))
        except OSError as error:
            raise CouldNotFinish(f"--port {port}: {error.strerror}; leave it out to take a free one") from error
        door.listen()
        token, number = secrets.token_urlsafe(24), door.getsockname()[1]
        hosts = frozenset((f"{HOST}:{number}", f"localhost:{number}"))
        yield f"http://{HOST}:{number}/{token}/", Server(application(desk, token, hosts), door)
