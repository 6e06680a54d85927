"""Requests that schemathesis makes from the OpenAPI document: the document describes each answer, and none is a 500.

The gateway runs on the sandbox. `make fuzz` makes many more cases, with another seed each time. A failure names its
seed.
"""

import io
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, Response
from schemathesis.openapi import from_wsgi
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from werkzeug.test import TestResponse

from config import Config
from route_api.app import create_app
from route_api.extensions import db

from ..support.gateway_client import INSIDES
from ..support.running_sandbox import running_sandbox
from ..support.settings import KEY, LOCKED, OPEN

CASES = int(os.environ.get("FUZZ_CASES", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
"""Parameters that fit the document, and parameters that do not."""
CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance]
OWN_FORM = (
    "/openapi.json",
    "/docs/{name}",
    "/datasets/{kb_id}/document/create-by-file",
    "/datasets/{kb_id}/document/create_by_file",
)
"""Paths whose JSON is not in the envelope: the document itself, and Dify's own answers."""
FAILURE_KEYS = {"code", "data", "elapsed_s", "message", "error", "request_id"}
TEXT = "葫芦庙在仁清巷。\n\n大观园在都中。"

Json = dict[str, Any]


def operations_of(app: Flask) -> list[str]:
    """The names of all operations, such as `GET /kb/list`."""
    paths = app.test_client().get("/openapi.json").json["paths"]
    return [f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs if verb != "parameters"]


OPERATIONS = operations_of(create_app(Config.load(**OPEN, DATABASE_URL="sqlite://")))


class Scene:
    """A gateway with a kb, a document and a conversation, of which the cases use the ids.

    :param callers: the headers of callers: mostly with a service key, else of a user, of nobody and with a wrong key
    """

    def __init__(self, app: Flask) -> None:
        self.schema: BaseSchema = from_wsgi("/openapi.json", app)
        self.schema.config.max_stream_events = 100_000  # After fewer events schemathesis would leave a stream.
        self._client: FlaskClient = app.test_client()
        self.callers = 7 * [{"Authorization": f"Bearer {KEY}"}]
        self._post("user/register", username="yinglian", password="good enough")
        token = self._post("user/login", username="yinglian", password="good enough")["token"]
        self.callers += [{"Authorization": f"Bearer {token}"}, {}, {"Authorization": "Bearer wrong"}]
        self.ids = self._new_ids()

    def renew(self) -> None:
        """Make another kb, document and conversation, because a case may have deleted them."""
        self.ids = self._new_ids()

    def operation(self, name: str) -> APIOperation:
        """An operation of the document."""
        method, path = name.split()
        return self.schema[path][method]

    def send(self, name: str, suffix: str, body: bytes, content_type: str) -> TestResponse:
        """Send a request as it stands.

        :param suffix: what follows the path
        """
        method, path = name.split()
        for parameter, value in {**self.ids, "action": "enable", "name": "docs.css"}.items():
            path = path.replace(f"{{{parameter}}}", str(value))
        return self._client.open(
            f"{path}{suffix}", method=method, data=body, content_type=content_type, headers=self.callers[0]
        )

    def _post(self, path: str, **body: Any) -> Any:
        return self._data(self._client.post(f"/{path}", json=body, headers=self.callers[0]).json)

    def _data(self, answer: Any) -> Any:
        assert answer["code"] == 0, answer
        return answer["data"]

    def _new_ids(self) -> Json:
        kb_id = self._post("kb/create", name=f"红楼梦 {time.monotonic_ns()}")["kb_id"]
        form = {"kb_id": kb_id, "file": (io.BytesIO(TEXT.encode()), "红楼梦.txt")}
        uploaded = self._data(self._client.post("/document/upload", data=form, headers=self.callers[0]).json)[0]
        while not (chunks := self._post("chunk/list", kb_id=kb_id, doc_id=uploaded["id"])["chunks"]):
            time.sleep(0.01)
        turn = self._post("conversation/completion", user_id="alice", message="葫芦庙在哪里？")
        return {
            "user_id": "alice",
            "kb_id": kb_id,
            "kb_ids": [kb_id],
            "doc_id": uploaded["id"],
            "doc_ids": [uploaded["id"]],
            "document_id": uploaded["id"],
            "batch": uploaded["batch"],
            "chunk_ids": [chunks[0]["chunk_id"]],
            "segment_id": chunks[0]["chunk_id"],
            "conversation_id": turn["conversation_id"],
            "message_id": turn["message_id"],
        }


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway on a sandbox, which authenticates its callers."""
    folder = tmp_path_factory.mktemp("fuzz")
    with running_sandbox(folder / "sandbox") as sandbox:
        places = {"DATABASE_URL": f"sqlite:///{folder / 'gateway.sqlite3'}", "DOWNLOAD_ROOT": folder / "downloads"}
        app = create_app(Config.load(**LOCKED, **sandbox, **places, RATE_LIMIT=0, REGISTRATION="open"))
        with app.app_context():
            db.create_all()
        yield Scene(app)
        with app.app_context():
            db.engine.dispose()


JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
PART = b"--b\r\nContent-Disposition: form-data; name=%s\r\n\r\nx\r\n--b--\r\n"
ODDITIES = {
    "path with NUL": ("%00", b"", JSON),
    "path that is no UTF-8": ("/%ff%fe", b"", JSON),
    "path with half a surrogate pair": ("%ed%a0%80", b"", JSON),
    "query with NUL": ("?kb_id=%00&user_id=%00&message=%00&question=%00", b"", JSON),
    "query that is no UTF-8": ("?kb_id=%ff&user_id=%ff&message=%ff&question=%ff&name=%ff", b"", JSON),
    "query of names and signs": ("?kb_id&&&=&=%zz&%", b"", JSON),
    "query with everything twice": ("?kb_id=a&kb_id=b&user_id=a&user_id=b&page=1&page=2", b"", JSON),
    "JSON in UTF-16": (
        "",
        '{"kb_id": "x", "user_id": "a", "message": "m"}'.encode("utf-16"),
        f"{JSON}; charset=utf-16",
    ),
    "JSON in an unknown charset": ("", b'{"kb_id": "x"}', f"{JSON}; charset=nonsense"),
    "JSON with a BOM": ("", b"\xef\xbb\xbf{}", JSON),
    "JSON in GBK": ("", '{"name": "水", "名": "厂"}'.encode("gbk"), f"{JSON}; charset=GBK"),
    "JSON in GBK that does not say so": ("", '{"name": "水"}'.encode("gbk"), JSON),
    "query and form with unknown names": ("?zzz=1&keyword=2", b"yyy=1&messages[0][role]=user", FORM),
    "JSON with everything twice": ("", b'{"kb_id": "a", "kb_id": 5, "user_id": "a", "user_id": []}', JSON),
    "JSON of 900 levels": ("", b'{"kb_id": %b, "history": %b}' % (2 * (b"[" * 900 + b"]" * 900,)), JSON),
    "form that is no UTF-8": ("", b"kb_id=%ff%00&user_id=%ff&message=%ff%00&name=%ff&password=%ff", FORM),
    "form of lists": ("", b"kb_id[]=1&kb_id[]=2&message[a]=b&user_id=%zz", FORM),
    "multipart of no parts": ("", bytes(500), MULTIPART),
    "multipart with NUL in a name": ("", PART % b'"kb_id\0"', MULTIPART),
    "multipart with a file of no name": ("", PART % b"file; filename*=nonsense''%ff%00", MULTIPART),
    "multipart with a part of no name": ("", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", MULTIPART),
    "multipart without a boundary": ("", b"x", "multipart/form-data"),
    "a type of nothing": ("", b"{}", "; ; =; charset"),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_request_that_no_client_library_makes_gets_an_answer_of_the_document(scene: Scene, oddity: str) -> None:
    document = scene.schema.raw_schema["paths"]
    for name in OPERATIONS:
        answer = scene.send(name, *ODDITIES[oddity])
        method, path = name.split()
        assert answer.status_code != 500, name
        if answer.status_code == 200 or path in OWN_FORM:
            assert answer.status_code in (200, 400, 404), name
            continue
        assert answer.json.keys() - {"warnings"} == FAILURE_KEYS, name
        if answer.json["error"] != "route_not_found":
            content = document[path][method.lower()]["responses"][str(answer.status_code)]["content"]
            assert answer.json["error"] in content["application/json"]["examples"], name


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_one_that_the_document_describes(scene: Scene, name: str) -> None:
    operation = scene.operation(name)
    for mode in MODES:
        cases = operation.as_strategy(generation_mode=mode)

        @seed(SEED)
        @settings(
            max_examples=max(1, round(CASES / len(OPERATIONS) / len(MODES))),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(st.data())
        def check(data: st.DataObject) -> None:
            case = data.draw(cases)
            put_in_ids(case, scene.ids, data)
            check_answer(operation, case, case.call(headers=data.draw(st.sampled_from(scene.callers))))

        try:
            check()
        except Unsatisfiable:  # Nothing that a request to this operation may hold is against the document.
            assert mode == GenerationMode.NEGATIVE
        except BaseException as error:
            error.add_note(f"{name}, {mode.value} cases of FUZZ_SEED={SEED} FUZZ_CASES={CASES}")
            raise
    if "/rm" in name:
        scene.renew()


def put_in_ids(case: Case, ids: Json, data: st.DataObject) -> None:
    """Give most of the ids in a case the values of things that exist. Else a case would seldom get far."""
    for part in (case.path_parameters, case.query, case.body):
        if isinstance(part, dict):
            for name in ids.keys() & part.keys():
                if data.draw(st.integers(0, 9)) < 8:
                    part[name] = ids[name]


def check_answer(operation: APIOperation, case: Case, answer: Response) -> None:
    """Check that the document describes an answer, and that it tells nothing internal."""
    assert answer.status_code != 500
    media_type = answer.headers["content-type"][0].partition(";")[0]
    error = None
    if media_type == "text/event-stream":
        check_events(answer.content.decode())
    elif media_type == "application/json" and operation.path not in OWN_FORM:
        error = check_envelope(answer)
    if error == "route_not_found":  # An empty parameter, or one with a slash, makes another path.
        assert case.path_parameters
        return
    if error is not None:
        content = operation.definition.raw["responses"][str(answer.status_code)]["content"]["application/json"]
        assert error in content["examples"]
    case.validate_response(
        answer, checks=[*CHECKS, *([response_schema_conformance] if media_type == "application/json" else [])]
    )


def check_envelope(answer: Response) -> str | None:
    """Check an answer in the envelope. Return the name of its error; None: it is a success."""
    body = json.loads(answer.content)
    if answer.status_code == 200:
        assert body["code"] == 0 and {"data", "message", "elapsed_s"} <= body.keys()
        return None
    assert body.keys() - {"warnings"} == FAILURE_KEYS and body["code"] == -1 and body["message"]
    assert body["request_id"] == answer.headers["x-request-id"][0]
    assert not INSIDES.search(body["message"])
    return str(body["error"])


def check_events(stream: str) -> None:
    """Check that each event of a stream is in the envelope, and that the last one ends a success or is a failure."""
    events = [json.loads(line.removeprefix("data: ")) for line in stream.split("\n\n") if line.startswith("data: ")]
    assert all({"code", "data", "message"} <= event.keys() for event in events)
    assert events[-1]["data"] is True or events[-1].keys() - {"warnings"} == FAILURE_KEYS
