"""Changes answers of Dify at random: types, lengths, missing and additional fields, bytes, status, length of the body.

All choices come from the given random generator, so a seed gives the same answer again.
"""

import copy
import json
from dataclasses import dataclass, replace
from random import Random
from typing import Any

Json = Any

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    7,
    10**18,
    2**63,
    10**40,
    0.5,
    -1e300,
    1e300,
    "",
    "x",
    "7",
    "null",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfffb",
    "😀" * 20,
    "x" * 37,
    "x" * 300,
    "长" * 70_000,
    "../../etc/passwd",
    "http://[",
    "http://elsewhere.test/files/x",
    "a b\r\nX-Injected: yes",
    "<script>",
    [],
    {},
    [None],
    [[]],
    [{}],
    ["x", 1, None],
    {"": None},
    {"id": 1, "name": None},
    {"event": "message"},
]
"""What takes the place of a value."""

BODIES = [
    b"",
    b" ",
    b"204",
    b"null",
    b"[]",
    b"{}",
    b"0",
    b'""',
    b"true",
    b"NaN",
    b"<!doctype html>\n<title>502 Bad Gateway</title>",
    b"\0\0\0",
    b"\xff\xfe{}",
    b"[" * 100_000,
    b'{"data":' * 900 + b"1" + b"}" * 900,
]
"""What takes the place of a body."""

STATUSES = [201, 204, 302, 400, 404, 409, 413, 418, 429, 500, 502, 503]


@dataclass(frozen=True)
class Answer:
    """An answer of Dify.

    :param missing_bytes: the number of bytes at the end that never come, because the connection closes before
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    missing_bytes: int = 0


def mutate(answer: Answer, chance: Random) -> Answer:
    """Change an answer in one to three ways."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        answer = _mutate_once(answer, chance)
    return answer


def _mutate_once(answer: Answer, chance: Random) -> Answer:
    kind = chance.random()
    is_stream = any("event-stream" in value for _, value in answer.headers)
    if kind < 0.75:
        change = _change_events if is_stream else _change_json
        return replace(answer, body=change(answer.body, chance))
    if kind < 0.87:
        return replace(answer, body=_change_bytes(answer.body, chance))
    if kind < 0.92:
        return replace(answer, missing_bytes=chance.randint(1, max(1, len(answer.body))))
    if kind < 0.97:
        return replace(answer, status=chance.choice(STATUSES))
    return replace(answer, headers=_change_headers(answer.headers, chance))


def _change_headers(headers: tuple[tuple[str, str], ...], chance: Random) -> tuple[tuple[str, str], ...]:
    odd = ["", "x", "99.x", "1.12.1", "text/event-stream", "application/json; charset=nothing", "é" * 200]
    if not headers or chance.random() < 0.3:
        return ()
    changed = list(headers)
    at = chance.randrange(len(changed))
    changed[at] = (changed[at][0], chance.choice(odd))
    return tuple(changed)


def _change_json(body: bytes, chance: Random) -> bytes:
    try:
        value = json.loads(body)
    except ValueError:
        return _change_bytes(body, chance)
    return _dump(_change_value(value, chance))


def _change_events(body: bytes, chance: Random) -> bytes:
    """Change one event of a stream, or the order and number of the events."""
    blocks = body.split(b"\n\n")
    at = chance.randrange(len(blocks))
    match chance.randrange(8):
        case 0:
            del blocks[at]
        case 1:
            blocks.insert(at, blocks[chance.randrange(len(blocks))])
        case 2:
            chance.shuffle(blocks)
        case 3:
            del blocks[at:]
        case 4:
            odd = [b"data:", b"data: [1]", b"data: nonsense", b"event: x", b": comment", b"data: null", b"\0"]
            odd += [b'data: {"event":"error"}', b'data: {"event":"error","status":"x","message":{"a":[]},"code":[]}']
            odd += [b'data: {"event":["message"]}', b'data: {"event":"message_replace"}', b'data: {"event":{}}']
            blocks.insert(at, chance.choice(odd))
        case _:
            data = [index for index, block in enumerate(blocks) if block.startswith(b"data: {")]
            if data:
                chosen = data[-1] if chance.random() < 0.3 else chance.choice(data)
                blocks[chosen] = b"data: " + _change_json(blocks[chosen][6:], chance)
    return b"\n\n".join(blocks)


def _change_bytes(body: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(body) + 1)
    match chance.randrange(5):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + bytes(chance.randrange(256) for _ in range(3)) + body[at + 3 :]
        case 2:
            return (
                body[:at] + chance.choice([b"\0", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\r\n", b'"']) + body[at:]
            )
        case 3:
            return body + body[at:]
    return chance.choice(BODIES)


def _change_value(value: Json, chance: Random) -> Json:
    """Change one place in decoded JSON. Places near the top are as likely as those deep inside."""
    value = copy.deepcopy(value)
    parent, key = None, None
    inner = value
    while isinstance(inner, (dict, list)) and inner and (parent is None or chance.random() < 0.7):
        parent = inner
        key = chance.choice(list(inner)) if isinstance(inner, dict) else chance.randrange(len(inner))
        inner = inner[key]
    if parent is None or chance.random() < 0.03:
        return chance.choice(VALUES)
    match chance.randrange(10):
        case 0 | 1:
            del parent[key]
        case 2:
            parent[key] = str(inner) if not isinstance(inner, str) else len(inner)
        case 3:
            parent[key] = [inner]
        case 4:
            parent[key] = {"value": inner}
        case 5 if isinstance(parent, dict):
            parent[chance.choice(["id", "event", "message_id", "extra", "data", "total"])] = chance.choice(VALUES)
        case 6 if isinstance(parent, list):
            parent.insert(key, chance.choice(VALUES))
        case 7:
            parent[key] = _nested(chance.choice((20, 60, 300, 900)))
        case _:
            parent[key] = chance.choice(VALUES)
    return value


def _nested(levels: int) -> Json:
    value: Json = "inside"
    for level in range(levels):
        value = [value] if level % 2 else {"inner": value}
    return value


def _dump(value: Json) -> bytes:
    """JSON with escapes for all that is not ASCII, also for lone surrogates."""
    return json.dumps(value).encode()
