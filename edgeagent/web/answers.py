# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the HTTP API answers: JSON, and errors in one form, which OpenAPI knows of each request."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from edgeagent.config import ConfigError
from edgeagent.core.text import clean, cut
from edgeagent.errors import (
    ConflictError,
    DirectiveError,
    EdgeAgentError,
    ExpiredError,
    ForbiddenError,
    NotFoundError,
    NotKeptError,
    RateLimitError,
    UnauthorizedError,
    UnavailableError,
    UsageError,
)
from edgeagent.status.schema import to_json
from edgeagent.web.guard import error_body

_STATUS_OF: tuple[tuple[type[EdgeAgentError], int], ...] = (
    (UnauthorizedError, 401),
    (ExpiredError, 403),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (UsageError, 422),
    (DirectiveError, 422),
    (RateLimitError, 429),
    (UnavailableError, 503),
    (NotKeptError, 507),
)
MAX_MISTAKES = 10
"""Of a request that is wrong, so many are said."""
MAX_PROBLEMS = 200
"""Of a configuration that is wrong."""


class ErrorText(BaseModel):
    """What failed, why, and what to do about it ("" where there is nothing). problems: each mistake of a configuration
    by itself, `FIELD: WHAT; allowed: …`; only where it is about one."""

    what: str
    why: str
    todo: str
    problems: list[str] = []


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorText


_MEANING = {
    400: "The request is not whole",
    401: "The token is missing or wrong",
    403: "Only this machine, or only the node's own pages, may ask this",
    404: "There is no such thing on this node",
    408: "The body did not arrive in time",
    409: "Not possible now",
    413: "The body is too large",
    422: "The request is wrong",
    429: "Too many wrong signatures or tokens from this address",
    500: "A fault of the node; its log says more",
    503: "The node can't do this now",
    507: "It is done and acts, but the disk doesn't take it: a restart may undo it",
}


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: these answers, and those that every request may get."""
    return {
        code: {"model": ErrorAnswer, "description": _MEANING[code]}
        for code in sorted({400, 401, 403, 500, *codes})
    }


def json_answer(content: BaseModel, status: int = 200) -> Response:
    """JSON. Its texts were cut, and lost their secrets, when they came in."""
    return Response(to_json(content) + "\n", status, media_type="application/json")


def add_error_answers(app: FastAPI) -> None:
    """Whatever is raised while a request is answered becomes an `ErrorAnswer`."""

    def answer(status: int, what: str, why: str, todo: str = "", **more: object) -> Response:
        body = error_body(clean(what), clean(why), clean(todo), **more)
        return Response(body, status, media_type="application/json")

    @app.exception_handler(EdgeAgentError)
    async def on_purpose(_request: Request, error: EdgeAgentError) -> Response:
        status = next((code for kind, code in _STATUS_OF if isinstance(error, kind)), 500)
        more = {}
        if isinstance(error, ConfigError):
            more["problems"] = [clean(problem) for problem in error.problems[:MAX_PROBLEMS]]
        return answer(status, error.what, error.why, error.todo, **more)

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[:MAX_MISTAKES]
        why = "; ".join(f"{'.'.join(cut(str(p), 100) for p in e['loc'])}: {e['msg']}" for e in first)
        return answer(422, "the request", why, "see /openapi.json")

    @app.exception_handler(HTTPException)
    async def no_such_thing(request: Request, error: HTTPException) -> Response:
        return answer(
            error.status_code, f"{request.method} {request.url.path}", str(error.detail), "see /openapi.json"
        )

    @app.exception_handler(Exception)
    async def our_fault(request: Request, _error: Exception) -> Response:
        # Starlette raises the error again after this answer, and uvicorn logs it.
        return answer(500, f"{request.method} {request.url.path}", "internal error", "see the node's log")
