import re
import time
from email.utils import formatdate

import orjson
import pytest
import responses

from route_api.dify import Dify
from route_api.dify.error_answers import (
    NO_INDEX,
    NO_LICENCE,
    SCOPED_KEY,
    STILL_INDEXING,
    TOO_MANY,
    error_from_response,
    error_text,
    is_safe_to_show,
)
from route_api.errors import (
    DifyAuthFailed,
    DifyError,
    DifyFailed,
    DifyForbidden,
    DifyNotFound,
    DifyRejected,
    DifyTooBusy,
)

from ..support.recordings import DIFY, VERSIONS, body_of, cases, load

NEVER_SHOWN = re.compile(
    r"<|SELECT|LINE 1|relation \"|psycopg|validation error|pydantic|input_value|You have requested this URI"
    r"|http|/v1/|[0-9a-f]{8}-[0-9a-f]{4}-"
)
CLASS_OF_STATUS = {
    401: DifyAuthFailed,
    403: DifyForbidden,
    404: DifyNotFound,
    500: DifyFailed,
}

ERROR_ANSWERS = [
    (version, case)
    for version in VERSIONS
    for case in cases(version)
    if load(version, case)["response"]["status"] >= 400
]


def expected_class(recorded: dict) -> type[DifyError]:
    response = recorded["response"]
    if isinstance(response["body"], dict) and response["body"].get("message") == "Dataset does not exist.":
        return DifyNotFound
    if recorded["case"] == "chat/advanced-chat-too-many-requests":
        return DifyTooBusy
    return CLASS_OF_STATUS.get(response["status"], DifyRejected)


def test_there_are_hundreds_of_recorded_errors_to_walk() -> None:
    assert len(ERROR_ANSWERS) > 400


@pytest.mark.parametrize("version, case", ERROR_ANSWERS)
def test_a_recorded_error_becomes_one_of_our_errors_with_a_text_that_is_safe_to_show(
    dify: Dify, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    recorded = load(version, case)
    mock_dify.get(f"{DIFY}/v1/x", body=body_of(recorded), status=recorded["response"]["status"])
    with pytest.raises(DifyError) as caught:
        dify.transport.request("GET", "/v1/x")
    error = caught.value
    body = recorded["response"]["body"]
    if isinstance(body, str) and body.startswith("{"):
        body = orjson.loads(body)
    assert type(error) is expected_class(recorded)
    assert error.dify_status == recorded["response"]["status"]
    assert error.dify_code == (body.get("code") if isinstance(body, dict) else None)
    assert error.message and not NEVER_SHOWN.search(error.message)


@pytest.mark.parametrize(
    "version, case, text",
    [
        ("1.12.1", "datasets/patch-duplicate-name", "Dataset name already exists"),
        ("1.8.1", "chat/conversation-unknown", "Conversation Not Exists."),
        (
            "1.8.1",
            "datasets/create-description-401-chars",
            "description: Description cannot exceed 400 characters.",
        ),
        (
            "1.12.1",
            "datasets/create-description-401-chars",
            "description: String should have at most 400 characters",
        ),
        (
            "1.12.1",
            "chat/conversation-malformed",
            "conversation_id: conversation_id must be a valid UUID",
        ),
        ("1.8.1", "segments/create-none", "Segments is required"),
        (
            "1.12.1",
            "segments/update-content-of-disabled",
            "Can't update disabled segment",
        ),
        ("1.8.1", "documents/status-disable-right-after-enable", STILL_INDEXING),
        ("1.12.1", "retrieve/empty-dataset", NO_INDEX),
        ("1.12.1", "chat/blocking-empty-answer", "The model gave an empty answer."),
        ("1.8.1", "auth/refresh-spent", "Invalid refresh token"),
        ("1.12.1", "provisioning/setup-again", "Forbidden"),
        ("1.16.1", "chat/advanced-chat-too-many-requests", TOO_MANY),
    ],
)
def test_what_helps_a_person_is_kept(version: str, case: str, text: str) -> None:
    response = load(version, case)["response"]
    assert error_text(response["status"], response["body"]) == text


@pytest.mark.parametrize(
    "message",
    [
        "Cannot connect to host=10.0.0.7 port=5432",
        "connection to 192.168.1.20 refused",
        "Incorrect API key provided: sk-abcd1234",
        "see http://internal/help",
        'File "/app/api/services/x.py", line 3',
        "two\nlines",
        "<p>page</p>",
        "App 750afc07-7e0e-4e5f-9e09-7d0ec407553a is not here",
        "x" * 301,
        "",
        None,
        ["a list"],
    ],
)
def test_a_text_that_could_give_something_away_is_replaced_by_our_own(
    message: object,
) -> None:
    text = error_text(400, {"code": "invalid_param", "message": message})
    assert text.startswith("Dify found the request invalid")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>nginx</html>", b'"text"', b"[1]", b"null", b'{"code": 7}', b"\xff"],
)
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 418, 429, 502])
def test_an_answer_in_no_known_shape_still_becomes_an_error_with_a_text(status: int, body: bytes) -> None:
    error = error_from_response(status, body, "DIFY_APP_API_KEY")
    assert error.message and error.dify_status == status and error.dify_code is None


def test_a_refused_key_names_the_setting_to_mend_and_is_not_the_callers_401() -> None:
    error = error_from_response(
        401,
        b'{"code":"unauthorized","message":"Access token is invalid"}',
        "DIFY_DATASET_API_KEY",
    )
    assert "DIFY_DATASET_API_KEY" in error.message
    assert error.status == 502


@pytest.mark.parametrize(
    "case, unexplained",
    [
        ("documents/create-by-file-bad-extension", True),
        ("documents/create-by-file-missing-file", False),
    ],
)
def test_an_error_without_a_reason_is_marked(version: str, case: str, unexplained: bool) -> None:
    assert error_from_response(400, body_of(load(version, case)), "X").unexplained is unexplained


def test_an_error_event_of_a_stream_has_a_text_too() -> None:
    events = load("1.12.1", "chat/error-mid-stream")["response"]["body"].strip().split("\n\n")
    event = orjson.loads(events[-1].removeprefix("data: "))
    assert error_text(event["status"], event) == "injected mid-stream failure: unavail"


@pytest.mark.parametrize(
    "piece",
    [" ", "\n", "\t ", "a\n  b", "You have requested this URI ", "<", "1.1.1.", "a "],
)
def test_a_long_text_takes_no_longer_than_a_short_one(piece: str) -> None:
    """Once 100,000 blanks held a worker for 16 seconds, and 200,000 for 64."""

    def seconds(size: int) -> float:
        body = orjson.dumps(
            {
                "code": "invalid_param",
                "message": "x" + piece * (size // len(piece)) + "x",
            }
        )
        begun = time.thread_time()
        for _ in range(10):
            error_from_response(400, body, "X")
            is_safe_to_show(400, body)
        return time.thread_time() - begun

    assert min(seconds(200_000) for _ in range(2)) < 30 * max(seconds(20_000) for _ in range(3))


def test_an_error_that_is_nested_deeply_is_looked_through() -> None:
    def nested(text: str) -> bytes:
        return b'{"a":' + b"[" * 1000 + orjson.dumps(text) + b"]" * 1000 + b"}"

    assert is_safe_to_show(400, nested("fine"))
    assert not is_safe_to_show(400, nested("SELECT 1"))


def test_a_refusal_without_a_reason_guesses_nothing_about_files() -> None:
    """The same text is used where a model fails in a stream."""
    assert error_text(400, {"event": "error", "status": 400}) == "Dify found the request invalid and did not say why."


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0", 1),
        ("99999999", 3600),
        ("9" * 5000, 3600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Wed, 21 Oct 2115 07:28:00 -0000", 3600),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_difys_wait_is_passed_on_within_limits(status: int, header: str | None, seconds: int | None) -> None:
    assert error_from_response(status, b"", "X", header).retry_after == seconds


def test_a_date_to_try_again_becomes_the_seconds_until_then() -> None:
    date = formatdate(time.time() + 90, usegmt=True)
    assert 85 <= (error_from_response(429, b"", "X", date).retry_after or 0) <= 91


def test_other_errors_carry_no_wait() -> None:
    assert error_from_response(500, b"", "X", "7").retry_after is None


def test_an_eleventh_key_says_what_to_do() -> None:
    response = load("1.16.1", "provisioning/dataset-api-key-limit")["response"]
    assert "delete one in Dify" in error_text(response["status"], response["body"])


# Dify 1.17 to 1.20.0: the codes and texts below were read in Dify's code, not recorded.


def read_error(status: int, code: str, message: str = "", setting: str = "DIFY_APP_API_KEY") -> DifyError:
    return error_from_response(
        status,
        orjson.dumps({"code": code, "message": message, "status": status}),
        setting,
    )


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (429, "rate_limit_error", DifyTooBusy, "provider of the model"),
        (400, "plugin_runtime_error", DifyRejected, "plugin daemon"),
        (500, "plugin_runtime_error", DifyFailed, "plugin daemon"),
        (400, "message_feedback_rating_required", DifyRejected, "no rating"),
    ],
)
def test_a_code_of_later_versions_is_told_in_words(status: int, code: str, kind: type[DifyError], words: str) -> None:
    for message in ("", code.replace("_", " ").title()):
        error = read_error(status, code, message)
        assert type(error) is kind and words in error.message


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_licence_is_no_refused_login_which_would_be_tried_again(
    status: int,
) -> None:
    error = read_error(
        status,
        "unauthorized",
        "Your license is invalid. Please contact your administrator.",
    )
    assert (type(error), error.message) == (DifyForbidden, NO_LICENCE)


@pytest.mark.parametrize(
    ("message", "setting", "words"),
    [
        (
            "This API key is not allowed to access this dataset.",
            "DIFY_DATASET_API_KEY",
            SCOPED_KEY,
        ),
        ("Forbidden", "DIFY_DATASET_API_KEY", SCOPED_KEY),
        (
            "Dataset api access is not enabled.",
            "DIFY_DATASET_API_KEY",
            "Dataset api access is not enabled.",
        ),
        (
            "The app's API service has been disabled.",
            "DIFY_APP_API_KEY",
            "The app's API service has been disabled.",
        ),
    ],
)
def test_a_key_for_one_dataset_names_the_setting(message: str, setting: str, words: str) -> None:
    assert read_error(403, "forbidden", message, setting).message == words


def test_a_model_that_speaks_of_a_licence_is_quoted() -> None:
    text = "The model needs you to accept its license."
    assert read_error(400, "completion_request_error", text).message == text
