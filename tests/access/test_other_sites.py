"""AUTH=open: which names of the gateway and which web pages are refused. test_open_access.py does it in a browser."""

from typing import Any

import pytest

from ..support.callers import assert_refused, bearer
from ..support.fake_dify import FakeDify
from ..support.gateway_client import MakeApp
from ..support.settings import KEY, LOCKED

PAGE = "https://app.example.com"


def answers_to(make_app: MakeApp, any_dify: FakeDify, headers: dict[str, str], **settings: Any) -> bool:
    """Whether an open gateway carries out a GET with these headers. A refusal must be 403 and not reach Dify."""
    client = make_app(**settings).test_client()
    any_dify.mock.assert_all_requests_are_fired = False
    any_dify.play("datasets/list-default")
    answer = client.get("/kb/list", headers=headers)
    if answer.status_code == 403:
        assert_refused(answer, 403, "forbidden")
        assert not any_dify.calls
    else:
        assert answer.json["code"] == 0
    return bool(any_dify.calls)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8000", "LOCALHOST", "localhost.", "app.localhost:3000"),
        *("127.0.0.1:8000", "127.8.9.10", "[::1]", "[::1]:8000"),
    ],
)
def test_each_name_of_this_machine_is_answered(make_app: MakeApp, any_dify: FakeDify, host: str) -> None:
    assert answers_to(make_app, any_dify, {"Host": host})


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost"),
        *("192.0.2.1", "[2001:db8::1]", "[::1", "", "a b", "127.1", "localhost@evil.example", "0.0.0.0"),
    ],
)
def test_no_other_name_is_answered(make_app: MakeApp, any_dify: FakeDify, host: str) -> None:
    assert not answers_to(make_app, any_dify, {"Host": host})


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        ("gateway.example.com", {"HOST": "gateway.example.com"}),
        ("10.0.0.11:8000", {"HOST": "10.0.0.11"}),
        ("172.17.0.2:8000", {"HOST": "0.0.0.0"}),
        ("api.example.com", {"ALLOWED_HOSTS": ["API.example.com"]}),
        ("[fd00::1]:8000", {"ALLOWED_HOSTS": ["fd00::1"]}),
        ("anything.example", {"ALLOWED_HOSTS": ["*"]}),
    ],
)
def test_the_settings_let_further_names_in(
    make_app: MakeApp, any_dify: FakeDify, host: str, settings: dict[str, Any]
) -> None:
    assert answers_to(make_app, any_dify, {"Host": host}, **settings)


@pytest.mark.parametrize(
    ("host", "settings"),
    [("evil.example", {"HOST": "0.0.0.0"}), ("evil.api.example.com", {"ALLOWED_HOSTS": ["api.example.com"]})],
)
def test_the_settings_let_no_more_in_than_they_name(
    make_app: MakeApp, any_dify: FakeDify, host: str, settings: dict[str, Any]
) -> None:
    assert not answers_to(make_app, any_dify, {"Host": host}, **settings)


def test_the_refusal_says_what_to_set_and_does_not_repeat_the_name(make_app: MakeApp) -> None:
    answer = make_app().test_client().get("/kb/list", headers={"Host": "evil.example"})
    assert "ALLOWED_HOSTS" in answer.json["message"] and "evil" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Referer": "https://evil.example/page"},
        {"Referer": "http://["},
    ],
)
def test_what_a_browser_says_of_another_site_is_refused(
    make_app: MakeApp, any_dify: FakeDify, headers: dict[str, str]
) -> None:
    assert not answers_to(make_app, any_dify, headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Referer": "http://localhost/docs"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "same-site", "Referer": "http://localhost:3000/"},
        {"Referer": "http://localhost:3000/"},
    ],
)
def test_a_person_and_a_developers_own_frontend_are_answered(
    make_app: MakeApp, any_dify: FakeDify, headers: dict[str, str]
) -> None:
    assert answers_to(make_app, any_dify, headers)


@pytest.mark.parametrize("name", ["Origin", "Referer"])
@pytest.mark.parametrize("origins", [[PAGE], ["*"]])
def test_a_page_that_cors_origins_names_is_answered(
    make_app: MakeApp, any_dify: FakeDify, name: str, origins: list[str]
) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", name: PAGE + ("" if name == "Origin" else "/a/page")}
    assert answers_to(make_app, any_dify, headers, CORS_ORIGINS=origins)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_service_key_and_the_public_pages_work_under_every_name(make_app: MakeApp, headers: dict[str, str]) -> None:
    """A page of another site has no key. Health checks call the gateway by any name."""
    for settings in (LOCKED, {**LOCKED, "AUTH": "open"}):
        client = make_app(**settings).test_client()
        with_key = {**headers, **bearer(KEY)}
        assert client.get("/conversation/list", query_string={"user_id": "a"}, headers=with_key).json["code"] == 0
        for path in ("/healthz", "/docs", "/openapi.json"):
            assert client.get(path, headers=headers).status_code == 200


def test_whoever_is_refused_cannot_register_either(make_app: MakeApp) -> None:
    """Registration is a public view, and with AUTH=open everybody counts as a service key."""
    client, user = make_app(SECRET_KEY="x" * 16).test_client(), {"username": "lin", "password": "a long sentence"}
    assert client.post("/user/register", json=user, headers={"Host": "evil.example"}).status_code == 403
    assert client.post("/user/register", json=user, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/user/register", json=user).json["code"] == 0
