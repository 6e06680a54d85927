"""Loads the recordings of two real Dify servers (tests/contract)."""

from pathlib import Path
from typing import Any, Iterator

import orjson
import responses
from urllib3 import HTTPHeaderDict

CONTRACT = Path(__file__).parents[1] / "contract"
VERSIONS = ("1.8.1", "1.12.1", "1.16.1")
DIFY = "http://dify.test"


def load(version: str, case: str) -> dict[str, Any]:
    """Load one case, such as `datasets/get-detail`."""
    recorded: dict[str, Any] = orjson.loads((CONTRACT / f"dify-{version}" / f"{case}.json").read_bytes())
    return recorded


def cases(version: str, areas: str = "*") -> Iterator[str]:
    """The names of all cases of a version."""
    root = CONTRACT / f"dify-{version}"
    for path in sorted(root.glob(f"{areas}/*.json")):
        yield f"{path.parent.name}/{path.stem}"


def body_of(recorded: dict[str, Any]) -> bytes:
    """The body of the recorded answer, as Dify sent it."""
    body = recorded["response"]["body"]
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else orjson.dumps(body).replace(b"<dify>", DIFY.encode())


def sent(mock: responses.RequestsMock, index: int = -1) -> Any:
    """The JSON body of one of our requests.

    :param index: of the request; the default is the last one
    :returns: the body; None if the request had none
    """
    return orjson.loads(mock.calls[index].request.body or b"null")


def play(mock: responses.RequestsMock, version: str, case: str, path: str | None = None) -> responses.BaseResponse:
    """Let the mocked Dify answer one more request as it was recorded.

    :param path: the path of the request, where the test chooses other ids than the recorded ones
    """
    recorded = load(version, case)
    headers = HTTPHeaderDict()
    for name, value in recorded["response"]["headers"].items():
        for each in value if isinstance(value, list) else [value]:
            headers.add(name, each)
    headers.setdefault("X-Version", version)
    return mock.add(
        recorded["request"]["method"],
        DIFY + (path or recorded["request"]["path"]),
        body=body_of(recorded),
        status=recorded["response"]["status"],
        headers=headers,
    )
