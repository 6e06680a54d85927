"""The version of Dify that the sandbox follows."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Response, abort, current_app, jsonify

VERSIONS = ("1.12.1", "1.16.1")
DEFAULT_VERSION = "1.12.1"

P = ParamSpec("P")
R = TypeVar("R")


def is_1_16() -> bool:
    """Whether the current sandbox follows 1.16.1. What differs is in tests/contract/DIFFERENCES-1.16.md."""
    return bool(current_app) and current_app.config["DIFY_VERSION"] == "1.16.1"


def deleted() -> Response:
    """The answer to a deletion. 1.12.1 sends the status in the body of a 200."""
    return Response(status=204, content_type="application/json") if is_1_16() else jsonify(204)


def since_1_16(**fields: Any) -> dict[str, Any]:
    """Fields that only 1.16.1 sends."""
    return fields if is_1_16() else {}


def only_since_1_16(view: Callable[P, R]) -> Callable[P, R]:
    """Make a route of 1.16.1 an unknown path in 1.12.1: 404 as HTML, before any key is checked."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_1_16():
            abort(404)
        return view(*args, **kwargs)

    return guarded
