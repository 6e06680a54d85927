"""Limits on one caller: requests, attempts to log in, turns and uploads at the same time, sizes."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
import redis
from flask import Flask

from route_api.access import users
from route_api.access.limits import ConcurrencyLimit, LoginThrottle
from route_api.errors import TooManyRequests
from route_api.extensions import db

from ..support.callers import assert_refused, at, bearer, registered
from ..support.databases import empty_redis
from ..support.fake_dify import FakeDify
from ..support.gateway_client import MakeApp
from ..support.patience import PATIENCE_S
from ..support.settings import KEY, LOCKED, OLD_KEY

REDIS = "redis://127.0.0.1:6379/9"
YINGLIAN = {"username": "yinglian", "password": "a long sentence"}


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.server)])
def storage(request: pytest.FixtureRequest) -> Iterator[str]:
    """The setting LIMITS_STORAGE."""
    if request.param == "memory":
        yield "memory://"
        return
    yield empty_redis(REDIS)
    empty_redis(REDIS)


# ------------------------------------------------------------------ requests


def test_a_caller_beyond_the_limit_is_told_when_to_come_again(make_app: MakeApp, storage: str) -> None:
    client = make_app(**LOCKED, RATE_LIMIT=3, LIMITS_STORAGE=storage).test_client()
    answers = [client.get("/kb/list") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert_refused(answers[3], 429, "too_many_requests")
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
    assert "3 requests a minute" in answers[3].json["message"]
    assert client.get("/healthz").status_code == 200, "a load balancer is never refused"


def test_users_addresses_and_service_keys_are_counted_each_for_itself(make_app: MakeApp, storage: str) -> None:
    app = make_app(**LOCKED, RATE_LIMIT=2, RATE_LIMIT_SERVICE=3, LIMITS_STORAGE=storage)
    client, one, two = app.test_client(), registered(app), registered(app, "xiren")
    for headers, allowed in ((one["headers"], 2), (two["headers"], 2), (bearer(KEY), 3), (bearer(OLD_KEY), 3)):
        codes = [client.get("/user/info?user_id=", headers=headers).status_code for _ in range(allowed + 1)]
        assert 429 not in codes[:-1] and codes[-1] == 429
    assert at(client, "192.0.2.1").status_code == 400


def test_two_gateways_with_one_redis_count_together(make_app: MakeApp) -> None:
    empty_redis(REDIS)
    one, two = (make_app(**LOCKED, RATE_LIMIT=2, LIMITS_STORAGE=REDIS).test_client() for _ in range(2))
    codes = [client.get("/kb/list").status_code for client in (one, two, one, two)]
    assert codes == [401, 401, 429, 429]


def test_while_redis_is_away_each_process_counts_by_itself(make_app: MakeApp) -> None:
    app = make_app(**LOCKED, RATE_LIMIT=2, LIMITS_STORAGE="redis://127.0.0.1:1/0", TURNS_PER_USER=1)
    with app.app_context():
        users.register(db.engine, **YINGLIAN)
    client = app.test_client()
    assert [client.get("/kb/list").status_code for _ in range(3)] == [401, 401, 429]
    assert at(client, "192.0.2.1", json=YINGLIAN).status_code == 200
    release = app.extensions["route_api"].concurrency.acquire("turns", "alice", 1)
    with pytest.raises(TooManyRequests):
        app.extensions["route_api"].concurrency.acquire("turns", "alice", 1)
    release()
    app.extensions["route_api"].concurrency.acquire("turns", "alice", 1)


def test_zero_is_no_limit(make_app: MakeApp) -> None:
    client = make_app(**LOCKED, RATE_LIMIT=0, RATE_LIMIT_SERVICE=1).test_client()
    assert {client.get("/kb/list").status_code for _ in range(30)} == {401}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
    ],
)
def test_an_ipv6_network_is_one_address(make_app: MakeApp, first: str, second: str, same: bool) -> None:
    client = make_app(**LOCKED, RATE_LIMIT=1).test_client()
    assert at(client, first).status_code == 400
    assert (at(client, second).status_code == 429) is same


@pytest.mark.parametrize(("proxies", "counted_apart"), [(0, False), (1, True)])
def test_forwarded_addresses_are_believed_from_the_proxies_in_front_only(
    make_app: MakeApp, proxies: int, counted_apart: bool
) -> None:
    client = make_app(**LOCKED, RATE_LIMIT=1, PROXIES=proxies).test_client()
    codes = [
        client.post("/user/login", headers={"X-Forwarded-For": f"10.0.0.1, 192.0.2.{number}"}).status_code
        for number in (1, 2)
    ]
    assert codes == ([400, 400] if counted_apart else [400, 429])
    spoofed = client.post("/user/login", headers={"X-Forwarded-For": "203.0.113.9, 192.0.2.1"})
    assert spoofed.status_code == 429, "an address that the caller wrote into the header is ignored"


# ------------------------------------------------------------------ guessing


@pytest.fixture
def guarded(make_app: MakeApp, storage: str) -> Flask:
    app = make_app(**LOCKED, LIMITS_STORAGE=storage)
    with app.app_context():
        users.register(db.engine, **YINGLIAN)
    return app


def test_guessing_the_password_of_one_user_is_slowed_down(guarded: Flask) -> None:
    client = guarded.test_client()
    codes = [at(client, "192.0.2.1", json={**YINGLIAN, "password": f"guess {n}"}).status_code for n in range(6)]
    assert codes == [401] * 5 + [429]
    right = at(client, "192.0.2.1", json=YINGLIAN)
    assert_refused(right, 429, "too_many_requests")
    assert 1 <= int(right.headers["Retry-After"]) <= 300


def test_the_owner_logs_in_from_a_known_address_while_others_guess_from_everywhere(guarded: Flask) -> None:
    client = guarded.test_client()
    assert at(client, "198.51.100.7", json=YINGLIAN).status_code == 200
    guesses = [at(client, f"192.0.2.{n}", json={**YINGLIAN, "password": "guess"}).status_code for n in range(12)]
    assert guesses == [401] * 10 + [429] * 2
    for _ in range(8):
        assert at(client, "198.51.100.7", json=YINGLIAN).status_code == 200


def test_guessing_many_users_from_one_address_is_slowed_down(guarded: Flask, monkeypatch: Any) -> None:
    monkeypatch.setattr("route_api.access.passwords.check_password_hash", lambda *_: False)
    client = guarded.test_client()
    codes = [at(client, "192.0.2.1", json={**YINGLIAN, "username": f"user{n}"}).status_code for n in range(31)]
    assert codes == [401] * 30 + [429]


def test_many_users_with_one_address_can_log_in(guarded: Flask) -> None:
    throttle: LoginThrottle = guarded.extensions["route_api"].login_throttle
    with guarded.test_request_context(environ_overrides={"REMOTE_ADDR": "192.0.2.1"}):
        for number in range(100):
            throttle.count_attempt(f"user{number}")
            throttle.count_success(f"user{number}")


def test_successful_logins_are_limited_too(guarded: Flask, monkeypatch: Any) -> None:
    monkeypatch.setattr("route_api.access.passwords.check_password_hash", lambda *_: True)
    client = guarded.test_client()
    codes = [at(client, "192.0.2.1", json=YINGLIAN).status_code for _ in range(61)]
    assert codes == [200] * 60 + [429]


def test_a_stolen_token_does_not_guess_passwords_faster(guarded: Flask) -> None:
    client = guarded.test_client()
    token = at(client, "192.0.2.1", json=YINGLIAN).json["data"]["token"]
    change = {"password": "a guess", "new_password": "a longer sentence"}
    codes = [
        at(client, "192.0.2.9", "/user/password", json=change, headers=bearer(token)).status_code for _ in range(6)
    ]
    assert codes == [401] * 5 + [429]


# ------------------------------------------------------------------ at the same time


def assert_is_free(app: Flask, name: str, owner: str) -> None:
    """None of them is running: with a limit of one, another one can start."""
    app.extensions["route_api"].concurrency.acquire(name, owner, 1)()


def test_a_place_is_free_after_its_release_and_a_second_release_does_nothing(storage: str) -> None:
    limit = ConcurrencyLimit(redis.Redis.from_url(storage) if storage != "memory://" else None)
    others = ConcurrencyLimit(redis.Redis.from_url(storage)) if storage != "memory://" else limit
    owner = uuid4().hex
    releases = [limit.acquire("turns", owner, 2), others.acquire("turns", owner, 2)]
    for process in (limit, others):
        with pytest.raises(TooManyRequests) as refused:
            process.acquire("turns", owner, 2)
        assert refused.value.retry_after
    releases[0]()
    releases[0]()
    release_third = others.acquire("turns", owner, 2)
    with pytest.raises(TooManyRequests):
        limit.acquire("turns", owner, 2)
    limit.acquire("turns", "somebody else", 2)
    release_third()
    releases[1]()
    limit.acquire("turns", owner, 1)


def test_threads_that_start_and_end_at_the_same_time_are_counted_exactly() -> None:
    limit, usual = ConcurrencyLimit(None), sys.getswitchinterval()

    def start_and_end(_: int) -> None:
        for _ in range(10_000):
            limit.acquire("uploads", "alice", 0)()

    sys.setswitchinterval(1e-6)  # Threads change places as often as they can.
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(start_and_end, range(8)))
    finally:
        sys.setswitchinterval(usual)
    limit.acquire("uploads", "alice", 1)()


def test_a_redis_that_is_away_is_not_asked_for_each_turn() -> None:
    asked: list[str] = []

    class Away:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise redis.ConnectionError("no route")

    limit = ConcurrencyLimit(Away())  # type: ignore[arg-type]
    for _ in range(5):
        limit.acquire("turns", "alice", 2)()
    assert asked == ["pipeline"]
    limit.acquire("turns", "alice", 1)
    with pytest.raises(TooManyRequests):
        limit.acquire("turns", "alice", 1)


def test_a_user_has_only_so_many_answers_written_at_once(make_app: MakeApp, any_dify: FakeDify) -> None:
    app = make_app(TURNS_PER_USER=1)
    any_dify.answer("GET", "/v1/parameters", {"user_input_form": []})
    inside, go_on = threading.Event(), threading.Event()

    def slow(_: Any) -> Any:
        inside.set()
        assert go_on.wait(PATIENCE_S)
        return 500, {}, b"{}"

    any_dify.call_back("POST", "/v1/chat-messages", slow)
    body = {"user_id": "alice", "message": "?"}
    first = threading.Thread(target=lambda: app.test_client().post("/conversation/completion", json=body))
    first.start()
    assert inside.wait(PATIENCE_S)
    try:
        assert_refused(app.test_client().post("/conversation/completion", json=body), 429, "too_many_requests")
        assert_refused(
            app.test_client().post("/conversation/completion", json={**body, "stream": True}), 429, "too_many_requests"
        )
    finally:
        go_on.set()
        first.join(PATIENCE_S)
    assert_is_free(app, "answers of this user", "alice")


def test_a_stream_holds_its_place_until_it_ends(make_app: MakeApp, any_dify: FakeDify) -> None:
    app = make_app(TURNS_PER_USER=1)
    any_dify.answer("GET", "/v1/parameters", {"user_input_form": []})
    any_dify.play("chat/streaming-first-turn")
    body = {"user_id": "alice", "message": "?", "stream": True}
    answer = app.test_client().post("/conversation/completion", json=body, buffered=False)
    assert_refused(app.test_client().post("/conversation/completion", json=body), 429, "too_many_requests")
    assert answer.get_data()
    answer.close()
    assert_is_free(app, "answers of this user", "alice")


def test_a_caller_has_only_so_many_uploads_running(make_app: MakeApp) -> None:
    app = make_app(UPLOADS_PER_CALLER=1)
    release = app.extensions["route_api"].concurrency.acquire("uploads of this caller", "address-127.0.0.1", 1)
    form = {"file": (BytesIO(b"x"), "a.txt")}
    assert_refused(app.test_client().post("/document/upload", data=form), 429, "too_many_requests")
    raw = "/datasets/e0b33974-287c-42cf-bf85-9aa09fa9ae59/document/create_by_file"
    assert_refused(app.test_client().post(raw, data=b"x"), 429, "too_many_requests")
    release()
    form = {"file": (BytesIO(b"x"), "a.txt")}
    assert_refused(app.test_client().post("/document/upload", data=form), 400, "validation_failed")
    assert_is_free(app, "uploads of this caller", "address-127.0.0.1")


# ------------------------------------------------------------------ sizes


def test_a_body_over_the_limit_is_refused(make_app: MakeApp) -> None:
    client = make_app(MAX_JSON_MB=1, MAX_UPLOAD_MB=2).test_client()
    body = {"user_id": "alice", "message": "x" * 1024 * 1024}
    assert_refused(client.post("/conversation/completion", json=body), 413, "request_too_large")
    form = {"kb_id": "x", "file": (BytesIO(b"x" * 2 * 1024 * 1024), "a.txt")}
    assert_refused(client.post("/document/upload", data=form), 413, "request_too_large")
    smaller = {"kb_id": "x", "file": (BytesIO(b"x" * 1024 * 1024), "a.txt")}
    assert_refused(client.post("/document/upload", data=smaller), 400, "validation_failed")
    elsewhere = {"name": "x", "file": (BytesIO(b"x" * 1024 * 1024), "a.txt")}
    assert_refused(client.post("/kb/create", data=elsewhere), 413, "request_too_large")


def test_the_operator_may_allow_smaller_pages_and_shorter_questions(make_app: MakeApp, any_dify: FakeDify) -> None:
    client = make_app(MAX_PAGE_SIZE=10, MAX_QUESTION_LENGTH=20).test_client()
    refused = client.get("/kb/list?page_size=11")
    assert_refused(refused, 400, "validation_failed")
    assert refused.json["message"] == "page_size must be 10 at the most here."
    any_dify.play("datasets/list-default")
    assert client.get("/kb/list").json["code"] == 0
    assert "limit=10" in any_dify.calls[0], "a page of the usual size is as large as may be"
    long = client.post("/conversation/completion", json={"user_id": "alice", "message": "x" * 21})
    assert long.json["message"] == "message is 21 characters long, the most is 20."
