import base64
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator

import orjson
import pytest
import responses
from urllib3 import HTTPHeaderDict

from route_api.dify import Dify, console_login
from route_api.dify.console_login import REFRESH_AFTER, ConsoleLogin
from route_api.dify.credentials import BearerSession, ConsoleSession, CookieSession
from route_api.dify.transport import Transport
from route_api.errors import ConsoleLoginRefused, ConsoleNotConfigured, DifyFailed, DifyTimeout, DifyUnreachable

from ..support.dify_client import dify_client
from ..support.loopback import answer, loopback
from ..support.recordings import DIFY, body_of, load, play, sent

EMAIL, PASSWORD = "admin@example.com", "Secret123"
IN_BASE64 = base64.b64encode(PASSWORD.encode()).decode()
PASSWORD_SENT = {"1.8.1": PASSWORD, "1.12.1": IN_BASE64, "1.16.1": IN_BASE64}
KIND = {"1.8.1": BearerSession, "1.12.1": CookieSession, "1.16.1": CookieSession}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def login(clock: Clock) -> ConsoleLogin:
    return ConsoleLogin(Transport(DIFY, connect_timeout=1, read_timeout=1, pool_size=1), EMAIL, PASSWORD, clock=clock)


def paths(mock: responses.RequestsMock) -> list[str]:
    return [call.request.path_url for call in mock.calls]


def logged_in(login: ConsoleLogin, mock: responses.RequestsMock, version: str) -> ConsoleSession:
    play(mock, version, "general/service-index")
    play(mock, version, "auth/login")
    return login.session()


def test_the_version_is_asked_first_and_decides_how_the_password_is_sent(
    login: ConsoleLogin, mock_dify: responses.RequestsMock, version: str
) -> None:
    session = logged_in(login, mock_dify, version)
    assert paths(mock_dify) == ["/v1/", "/console/api/login"]
    assert sent(mock_dify) == {"email": EMAIL, "password": PASSWORD_SENT[version], "remember_me": True}
    assert type(session) is KIND[version]


def test_each_generation_signs_in_its_own_way(
    login: ConsoleLogin, mock_dify: responses.RequestsMock, version: str
) -> None:
    headers = logged_in(login, mock_dify, version).headers()
    if version == "1.8.1":
        assert headers == {"Authorization": "Bearer <access-token>"}
    else:
        assert headers == {
            "Cookie": "access_token=<access-token>; csrf_token=<csrf-token>",
            "X-CSRF-Token": "<csrf-token>",
        }


def test_a_session_is_used_until_it_is_50_minutes_old_and_then_refreshed(
    login: ConsoleLogin, clock: Clock, mock_dify: responses.RequestsMock, version: str
) -> None:
    first = logged_in(login, mock_dify, version)
    clock.now = REFRESH_AFTER - 1
    assert login.session() is first
    clock.now = REFRESH_AFTER
    play(mock_dify, version, "auth/refresh")
    second = login.session()
    assert second is not first and login.session() is second
    refresh = mock_dify.calls[-1].request
    if version == "1.8.1":
        assert sent(mock_dify) == {"refresh_token": "<refresh-token>"}
    else:
        assert refresh.headers["Cookie"] == "refresh_token=<refresh-token>" and not refresh.body


def test_after_a_refresh_the_new_csrf_token_is_sent(
    login: ConsoleLogin, clock: Clock, mock_dify: responses.RequestsMock
) -> None:
    logged_in(login, mock_dify, "1.12.1")
    clock.now = REFRESH_AFTER
    headers = HTTPHeaderDict()
    for name in ("csrf_token", "access_token", "refresh_token"):
        headers.add("Set-Cookie", f"{name}=new-{name}; Path=/")
    mock_dify.post(f"{DIFY}/console/api/refresh-token", json={"result": "success"}, headers=headers)
    assert login.session().headers() == {
        "Cookie": "access_token=new-access_token; csrf_token=new-csrf_token",
        "X-CSRF-Token": "new-csrf_token",
    }


def test_cookies_of_a_dify_behind_https_keep_their_names() -> None:
    session = CookieSession({"__Host-access_token": "a", "__Host-csrf_token": "c", "__Host-refresh_token": "r"})
    assert session.headers() == {"Cookie": "__Host-access_token=a; __Host-csrf_token=c", "X-CSRF-Token": "c"}
    assert session.refresh_request() == {"headers": {"Cookie": "__Host-refresh_token=r"}}


def test_a_spent_refresh_token_leads_to_a_new_login(
    login: ConsoleLogin, clock: Clock, mock_dify: responses.RequestsMock, version: str
) -> None:
    logged_in(login, mock_dify, version)
    clock.now = REFRESH_AFTER
    play(mock_dify, version, "auth/refresh-spent")
    play(mock_dify, version, "auth/login")
    assert type(login.session()) is KIND[version]
    assert paths(mock_dify)[-2:] == ["/console/api/refresh-token", "/console/api/login"]


@pytest.mark.parametrize("case", ["auth/login-bad-password", "auth/login-unknown-email", "auth/login-weak-password"])
def test_a_refused_login_is_never_tried_again(
    login: ConsoleLogin, clock: Clock, mock_dify: responses.RequestsMock, version: str, case: str
) -> None:
    play(mock_dify, version, "general/service-index")
    play(mock_dify, version, case)
    for clock.now in (0, 10, 10 * REFRESH_AFTER):
        with pytest.raises(ConsoleLoginRefused, match="DIFY_CONSOLE_EMAIL"):
            login.session()
    assert paths(mock_dify) == ["/v1/", "/console/api/login"]


def test_a_server_of_unknown_version_that_wants_base64_gets_it(
    login: ConsoleLogin, mock_dify: responses.RequestsMock
) -> None:
    mock_dify.get(f"{DIFY}/v1/", status=404)
    refused = body_of(load("1.12.1", "auth/login-plain-password"))
    mock_dify.post(f"{DIFY}/console/api/login", body=refused, status=401)
    play(mock_dify, "1.12.1", "auth/login")
    assert type(login.session()) is CookieSession
    assert [sent(mock_dify, index)["password"] for index in (1, 2)] == [PASSWORD, PASSWORD_SENT["1.12.1"]]


def test_a_dify_that_cannot_answer_has_not_refused(
    login: ConsoleLogin, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "general/service-index")
    mock_dify.post(f"{DIFY}/console/api/login", status=502)
    with pytest.raises(DifyFailed):
        login.session()
    play(mock_dify, version, "auth/login")
    assert type(login.session()) is KIND[version]


def test_a_login_that_brings_no_session_counts_as_refused(
    login: ConsoleLogin, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "general/service-index")
    mock_dify.post(f"{DIFY}/console/api/login", json={"result": "fail", "data": "no workspace"})
    with pytest.raises(ConsoleLoginRefused):
        login.session()


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"data": {"access_token": ["a"], "refresh_token": "r"}}', b"<html>"]
)
def test_a_success_without_a_session_is_no_refusal(
    login: ConsoleLogin, mock_dify: responses.RequestsMock, body: bytes
) -> None:
    play(mock_dify, "1.8.1", "general/service-index")
    mock_dify.post(f"{DIFY}/console/api/login", body=body)
    with pytest.raises(DifyFailed):
        login.session()
    play(mock_dify, "1.8.1", "auth/login")
    assert type(login.session()) is BearerSession


def test_a_cookie_of_a_load_balancer_is_not_taken_for_a_session(
    login: ConsoleLogin, mock_dify: responses.RequestsMock
) -> None:
    play(mock_dify, "1.8.1", "general/service-index")
    tokens = body_of(load("1.8.1", "auth/login"))
    mock_dify.post(f"{DIFY}/console/api/login", body=tokens, headers={"Set-Cookie": "LB=1; Path=/"})
    assert type(login.session()) is BearerSession


def test_a_refresh_token_is_not_sent_again_after_the_connection_broke(
    login: ConsoleLogin, clock: Clock, mock_dify: responses.RequestsMock, version: str
) -> None:
    logged_in(login, mock_dify, version)
    clock.now = REFRESH_AFTER
    mock_dify.post(f"{DIFY}/console/api/refresh-token", body=ConnectionResetError())
    with pytest.raises(DifyUnreachable):
        login.session()
    play(mock_dify, version, "auth/login")
    assert type(login.session()) is KIND[version]


def test_without_credentials_the_operator_is_told_what_to_set() -> None:
    with pytest.raises(ConsoleNotConfigured, match="DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD"):
        dify_client(DIFY).console.upload_limits()


@pytest.mark.parametrize("email, password", [(None, None), ("", ""), (EMAIL, ""), ("", PASSWORD)])
def test_a_login_needs_both_an_address_and_a_password(email: str | None, password: str | None) -> None:
    assert not dify_client(DIFY, console_email=email, console_password=password).console.is_configured


def test_a_login_is_configured_until_it_is_forgotten(dify: Dify) -> None:
    assert dify.console.is_configured
    dify.forget_login()
    assert not dify.console.is_configured


class Console:
    """A console of 1.8.1 that hands out numbered tokens, slowly, and knows which of them is still good."""

    def __init__(self) -> None:
        self.logins = self.refreshes = 0
        self.good = ""
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        time.sleep(0.05)
        with self._lock:
            status, body = self._answer(request)
        connection.sendall(answer(orjson.dumps(body), status, "X-Version: 1.8.1\r\n"))

    def _answer(self, request: bytes) -> tuple[str, dict]:
        if b"/console/api/login" in request or b"/console/api/refresh-token" in request:
            if b"login" in request.split(b"\r\n")[0]:
                self.logins += 1
            else:
                self.refreshes += 1
            self.good = f"token-{self.logins}-{self.refreshes}"
            return "200 OK", {"data": {"access_token": self.good, "refresh_token": "r"}}
        if f"Bearer {self.good}\r\n".encode() in request:
            return "200 OK", {"file_size_limit": 15}
        return "401 Unauthorized", {"code": "unauthorized", "message": "Token has expired.", "status": 401}


@pytest.mark.parametrize(("status", "body"), [(403, "<html>a firewall</html>"), (401, "Unauthorized"), (429, "slow")])
def test_an_answer_that_is_not_difys_is_no_refusal(
    login: ConsoleLogin, mock_dify: responses.RequestsMock, version: str, status: int, body: str
) -> None:
    play(mock_dify, version, "general/service-index")
    mock_dify.post(f"{DIFY}/console/api/login", body=body, status=status)
    with pytest.raises(DifyFailed, match=str(status)):
        login.session()
    play(mock_dify, version, "auth/login")
    assert type(login.session()) is KIND[version]


def test_a_dify_without_an_account_has_not_refused(
    login: ConsoleLogin, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "general/service-index")
    play(mock_dify, version, "provisioning/empty-login")
    with pytest.raises(DifyFailed, match="401"):
        login.session()
    play(mock_dify, version, "auth/login")
    assert type(login.session()) is KIND[version]


def test_a_refused_login_is_tried_again_when_the_operator_says_so(
    login: ConsoleLogin, mock_dify: responses.RequestsMock, version: str
) -> None:
    play(mock_dify, version, "general/service-index")
    play(mock_dify, version, "auth/login-bad-password")
    with pytest.raises(ConsoleLoginRefused, match="flask dify check"):
        login.session()
    play(mock_dify, version, "auth/login")
    assert login.try_again() is True
    assert type(login.session()) is KIND[version]
    assert login.try_again() is False


@pytest.fixture
def console() -> Iterator[tuple[Console, Dify]]:
    server = Console()
    with loopback(server) as address:
        yield server, dify_client(address.url, console_email=EMAIL, console_password=PASSWORD)


def test_eight_threads_make_one_login(console: tuple[Console, Dify]) -> None:
    server, dify = console
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: dify.console.upload_limits(), range(8)))
    assert answers == [{"file_size_limit": 15}] * 8
    assert (server.logins, server.refreshes) == (1, 0)


def test_threads_that_wait_for_a_login_to_a_silent_dify_share_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each of them would wait for the whole time limit, one after the other."""

    monkeypatch.setattr(console_login, "LOGIN_TIMEOUT_S", 0.3)

    def silent(connection: socket.socket, request: bytes) -> None:
        if b"/console/api/login" in request:
            time.sleep(0.6)
            return
        connection.sendall(answer(b"{}", "404 NOT FOUND", "X-Version: 1.8.1\r\n"))

    def ask(dify: Dify) -> type[Exception]:
        try:
            dify.console.upload_limits()
        except Exception as error:
            return type(error)
        raise AssertionError("the login succeeded")

    with loopback(silent) as server:
        dify = dify_client(server.url, console_email=EMAIL, console_password=PASSWORD)
        with ThreadPoolExecutor(20) as pool:
            failures = set(pool.map(ask, [dify] * 20))
        logins = sum(b"/console/api/login" in request for request in server.requests)
    assert failures == {DifyTimeout} and logins == 1


def test_eight_threads_whose_session_is_refused_make_one_refresh(console: tuple[Console, Dify]) -> None:
    server, dify = console
    dify.console.upload_limits()
    server.good = "another"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: dify.console.upload_limits(), range(8)))
    assert answers == [{"file_size_limit": 15}] * 8
    assert (server.logins, server.refreshes) == (1, 1)
