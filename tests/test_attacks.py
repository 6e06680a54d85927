"""What an attacker would try, within one process; docs/security.md lists it all, and names the tests.

What needs real sockets is in tests/end_to_end/test_attacks.py. Attacks that belong to one part of the gateway stand
with the tests of that part.
"""

import ast
import gzip
import hashlib
import io
import logging
import re
import socket
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from time import sleep
from typing import Any

import orjson
import pytest
import responses
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from config import Config
from route_api.access import users
from route_api.errors import DifyFailed, ValidationFailed
from route_api.extensions import db
from route_api.knowledge.downloads import folder_below, save_file
from route_api.storage import conversations
from route_api.storage.turns import NewTurn, begin_turn
from route_api.views import parameters

from .support import databases
from .support.bad_values import KB_ID, describe
from .support.callers import assert_refused, at, bearer, registered
from .support.dify_client import dify_client
from .support.fake_dify import FakeDify
from .support.gateway_client import MakeApp
from .support.loopback import loopback
from .support.patience import PATIENCE_S
from .support.recordings import DIFY
from .support.routes import METHODS, path_of
from .support.scenes import SCENES, play_file
from .support.settings import KEY, LOCKED, SECRET
from .support.stored import add_conversation
from .support.talk import stream, without_variables

PROJECT = Path(__file__).parents[1]
SIGNED = "/files/f/file-preview?timestamp=1&nonce=2&sign=3"
CREATE = f"/v1/datasets/{KB_ID}/document/create-by-file"

database_url, migrated, engine = databases.database_url, databases.migrated, databases.engine


@pytest.fixture
def nothing_upstream() -> Iterator[None]:
    """Whoever asks Dify breaks the test."""
    with responses.RequestsMock():
        yield


# ------------------------------------------------------------------ the list of attacks


def attacks() -> list[list[str]]:
    """The rows of the table in docs/security.md: attack, what it gets, the tests."""
    page = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
    table = page[page.index("| attack | what it gets |") :]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def functions_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_attack_in_the_documentation_has_a_test_that_exists() -> None:
    named = [re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2]) for row in attacks()]
    assert all(named), "every row names a test"
    missing = [f"{path}::{name}" for row in named for path, name in row if name not in functions_in(PROJECT / path)]
    assert missing == []


def test_there_are_many_attacks_and_each_says_what_it_gets() -> None:
    rows = attacks()
    assert len(rows) >= 40
    assert [row for row in rows if len(row) != 3 or not all(row)] == []
    assert len({row[0] for row in rows}) == len(rows)


# ------------------------------------------------------------------ past the access check


@pytest.mark.parametrize(
    "path",
    [
        *("/KB/RM", "/kb%2frm", "/kb%2Frm", "//kb/rm", "/kb//rm", "/kb/rm/", "/kb/rm/.", "/./kb/rm", "/x/../kb/rm"),
        *("/v1/../kb/rm", "/v1/v1/kb/rm", "/v1//kb/rm", "/v1/kb/rm;x=1", "/kb/rm%00", "/kb/rm%20", "/kb/rm%0a"),
        *("/healthz/../kb/rm", "/healthz%2f..%2fkb%2frm", "/healthz?/kb/rm", "/kb%252frm", "/ｋb/rm", "/kb\\rm"),
    ],
)
def test_no_spelling_of_a_path_slips_past_the_access_check(
    gate: FlaskClient, path: str, nothing_upstream: None
) -> None:
    answer = gate.post(path, json={"kb_id": KB_ID}, headers={"Host": "evil.example"})
    assert answer.status_code in (401, 404, 405), answer.text
    assert answer.mimetype == "application/json" and "Location" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "TRACE", "PUT", "CONNECT", "PROPFIND", "FOO"])
def test_no_other_method_slips_past_the_access_check(gate: FlaskClient, method: str, nothing_upstream: None) -> None:
    gate.application.test_client_class = FlaskClient  # An answer to HEAD has nothing that could be looked at.
    gate = gate.application.test_client()
    for path in ("/kb/list", "/conversation/list", "/document/download"):
        assert gate.open(path, method=method).status_code in (401, 405)


def test_a_preflight_runs_nothing_and_tells_methods_only(gate: FlaskClient, nothing_upstream: None) -> None:
    for path in ("/kb/rm", "/kb/list", "/user/info", "/document/download"):
        answer = gate.options(path, json={"kb_id": KB_ID}, headers=bearer(KEY))
        assert (answer.status_code, answer.data) == (200, b"") and answer.headers["Allow"]


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"])
def test_a_header_or_parameter_that_names_another_method_is_not_heard(
    gate: FlaskClient, header: str, nothing_upstream: None
) -> None:
    refused = gate.get(f"/kb/rm?{header}=POST", headers={header: "POST", **bearer(KEY)})
    assert_refused(refused, 405, "method_not_allowed")
    assert gate.post(f"/kb/rm?{header}=OPTIONS", headers={header: "OPTIONS"}).status_code == 401


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "key", "Authorization", "X-API-Key", "bearer"])
def test_credentials_anywhere_but_in_the_header_count_for_nothing(locked: Flask, name: str) -> None:
    token = registered(locked)["headers"]["Authorization"].removeprefix("Bearer ")
    for secret in (KEY, token, f"Bearer {KEY}"):
        client = locked.test_client()
        client.set_cookie(name, secret)
        other = {} if name == "Authorization" else {name: secret}
        headers = {"Proxy-Authorization": f"Bearer {secret}", **other}
        answer = client.post("/kb/list", query_string={name: secret}, json={name: secret}, headers=headers)
        assert_refused(answer, 401, "credentials_missing")


@pytest.mark.parametrize("salt", ["itsdangerous", "cookie-session", "route-api", "itsdangerous.Signer", ""])
def test_what_our_key_signed_for_another_purpose_is_no_login(locked: Flask, gate: FlaskClient, salt: str) -> None:
    """Flask signs its sessions with the same SECRET_KEY."""
    user = registered(locked)
    for signing in ({}, {"key_derivation": "hmac"}, {"key_derivation": "hmac", "digest_method": hashlib.sha256}):
        serializer = URLSafeTimedSerializer(SECRET, salt=salt, signer_kwargs=signing)
        signed = serializer.dumps([user["user_id"], 0])
        assert_refused(gate.get("/user/info", headers=bearer(signed)), 401, "credentials_invalid")


# ------------------------------------------------------------------ users


def test_no_parameter_gives_anybody_a_role(locked: Flask, gate: FlaskClient) -> None:
    user = registered(locked)
    more = {"role": "admin", "is_service": True, "may_administer": True, "login_generation": 9, "password_hash": "x"}
    change = {"password": "a long sentence", "new_password": "a longer sentence", **more}
    changed = gate.post("/user/password", json=change, headers=user["headers"])
    headers = bearer(changed.json["data"]["token"])
    gate.post("/user/info", json=more, headers=headers)
    login = gate.post("/user/login", json={"username": "yinglian", "password": "a longer sentence", **more})
    assert login.json["data"]["user"]["role"] == "user"
    assert gate.get("/user/info?role=admin", headers=headers).json["data"]["role"] == "user"
    assert_refused(gate.post("/kb/rm", json={"kb_id": KB_ID, **more}, headers=headers), 403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        b'{"user_id": ["%s", "bob"]}',
        b'{"user_id": "%s\\u0000"}',
        b'{"user_id": " %s"}',
        b'{"user_id": {"$ne": "%s"}}',
    ],
)
def test_a_user_id_that_says_two_things_is_refused(locked: Flask, gate: FlaskClient, body: bytes) -> None:
    user = registered(locked)
    own = user["user_id"].encode()
    headers = {**user["headers"], "Content-Type": "application/json"}
    assert_refused(gate.post("/conversation/list", data=body % own, headers=headers), 403, "forbidden")
    repeated = b'{"user_id": "%s", "user_id": "bob"}' % own
    assert_refused(gate.post("/conversation/list", data=repeated, headers=headers), 400, "validation_failed")
    twice = f"/conversation/list?user_id={user['user_id']}"
    assert_refused(gate.post(f"{twice}&user_id=bob", headers=user["headers"]), 403, "forbidden")
    assert_refused(gate.post(twice, json={"user_id": "bob"}, headers=user["headers"]), 403, "forbidden")


def test_of_two_who_register_a_name_at_once_one_wins(make_app: MakeApp) -> None:
    app = make_app(**LOCKED, REGISTRATION="open")
    both = threading.Barrier(2)
    answers: list[TestResponse] = []

    def register(password: str) -> None:
        both.wait(PATIENCE_S)
        answers.append(app.test_client().post("/user/register", json={"username": "yinglian", "password": password}))

    threads = [threading.Thread(target=register, args=(f"sentence {number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    with app.app_context():
        assert len(users.list_users(db.engine)) == 1


def test_whoever_registers_users_by_the_hundred_is_slowed_down(make_app: MakeApp, monkeypatch: Any) -> None:
    """Each costs the hash of a password, 60 ms of a processor."""
    monkeypatch.setattr("route_api.access.passwords.generate_password_hash", lambda _: "scrypt:x")
    client = make_app(**LOCKED, REGISTRATION="open").test_client()

    def register(number: int, **more: Any) -> int:
        return at(
            client, "192.0.2.1", "/user/register", json={"username": f"u{number}", "password": "x" * 8}, **more
        ).status_code

    assert [register(number) for number in range(31)] == [200] * 30 + [429]
    assert register(31, headers=bearer(KEY)) == 200, "a backend may"


def test_a_made_up_address_does_not_make_guessing_faster(locked: Flask, gate: FlaskClient) -> None:
    registered(locked)
    codes = []
    for number in range(6):
        address = f"198.51.100.{number}"
        headers = {
            "X-Forwarded-For": address,
            "X-Real-IP": address,
            "Forwarded": f"for={address}",
            "CF-Connecting-IP": address,
        }
        guess = {"username": "yinglian", "password": f"guess {number}"}
        codes.append(gate.post("/user/login", json=guess, headers=headers).status_code)
    assert codes == [401] * 5 + [429]


def test_a_name_in_other_letters_or_capitals_is_guessed_no_faster(locked: Flask, gate: FlaskClient) -> None:
    registered(locked)
    names = ("yinglian", "YINGLIAN", " yinglian", "ｙinglian", "Yinglian", "yingliaN")
    guesses = [{"username": name, "password": "a guess"} for name in names]
    assert [gate.post("/user/login", json=guess).status_code for guess in guesses] == [401] * 5 + [429]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://[", ""])
def test_a_page_of_another_site_changes_nothing_where_everybody_may_call(
    make_app: MakeApp, origin: str, nothing_upstream: None
) -> None:
    """Browsers send forms from any page to any address. A login would not come along, but here none is asked for."""
    client = make_app(CORS_ORIGINS=["https://app.example.com"]).test_client()
    for path in ("/kb/create", "/document/upload", "/kb/rm"):
        for form in ({"name": "x"}, {"kb_id": KB_ID, "file": (BytesIO(b"x"), "a.txt")}):
            assert_refused(client.post(path, data=form, headers={"Origin": origin}), 403, "forbidden")


@pytest.mark.parametrize("origin", [None, "https://app.example.com", "http://localhost", "http://localhost:3000"])
def test_our_own_pages_may_call_where_everybody_may(make_app: MakeApp, any_dify: FakeDify, origin: str | None) -> None:
    client = make_app(CORS_ORIGINS=["https://app.example.com"]).test_client()
    any_dify.play("datasets/list-default")
    assert client.post("/kb/list", headers={"Origin": origin} if origin else {}).json["code"] == 0


# ------------------------------------------------------------------ folders and files


@pytest.mark.parametrize(
    "wanted",
    [
        *("．．/．．/etc", "..\u200b/x", "%2e%2e/%2e%2e/etc", "..%2f..%2fetc", "%252e%252e%252f", "....//....//etc"),
        *("..\\..\\etc", "C:\\Windows", "\\\\host\\share", "~root", "$HOME", "a\u202e/../b", "‥/x", "∕etc", "․․/x"),
    ],
)
def test_a_folder_in_disguise_stays_below_the_root(
    console_client: FlaskClient, any_dify: FakeDify, tmp_path: Path, wanted: str
) -> None:
    kb_id, document_id = play_file(any_dify, with_details=True)
    query = {"kb_id": kb_id, "document_id": document_id, "download_dir": wanted}
    answer = console_client.get("/document/get", query_string=query)
    assert answer.status_code == 200, answer.text
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "sqlite" not in path.name]
    assert len(files) == 1 and tmp_path / "downloads" in files[0].resolve().parents


@pytest.mark.parametrize("wanted", ["红" * 100, "x" * 200 + "/..", "a\0b", "loop/x", "/", "./..", "downloads/../.."])
def test_a_folder_that_cannot_be_is_refused_in_words(
    make_app: MakeApp, tmp_path: Path, wanted: str, nothing_upstream: None
) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "loop").symlink_to("loop")
    query = {"kb_id": KB_ID, "document_id": KB_ID, "download_dir": wanted}
    assert_refused(make_app().test_client().get("/document/get", query_string=query), 400, "validation_failed")


def test_a_link_put_in_the_way_after_the_check_leads_nowhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    folder = folder_below(root, "reports/2026")
    folder.rmdir()
    folder.parent.rmdir()
    folder.parent.symlink_to(outside)
    (outside / "2026").mkdir()
    with pytest.raises(ValidationFailed, match="changed"):
        save_file(root, folder, "a.txt", [b"x"])
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_link_in_the_place_of_an_older_file_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    folder = folder_below(root, "")
    (folder / "a.txt").symlink_to(tmp_path / "secret")
    save_file(root, folder, "a.txt", [b"x"])
    assert (tmp_path / "secret").read_text() == "secret"
    assert (folder / "a.txt").read_bytes() == b"x" and not (folder / "a.txt").is_symlink()


@pytest.mark.parametrize("name", ["../../evil.txt", "/etc/cron.d/evil.txt", "..\\..\\evil.txt", "a\0/../../evil.txt"])
def test_difys_name_of_a_file_does_not_lead_out_of_the_folder(
    client: FlaskClient, any_dify: FakeDify, tmp_path: Path, name: str
) -> None:
    document = f"/v1/datasets/{KB_ID}/documents/{KB_ID}"
    any_dify.answer("GET", f"{document}/download", {"name": name, "url": SIGNED, "download_url": SIGNED})
    any_dify.mock.get(DIFY + SIGNED, body=b"x")
    answer = client.get("/document/get", query_string={"kb_id": KB_ID, "document_id": KB_ID})
    saved = tmp_path / "downloads" / KB_ID / KB_ID / "evil.txt"
    assert answer.json["data"]["file_path"] == str(saved)
    assert [path for path in tmp_path.rglob("evil*")] == [saved]


@pytest.mark.parametrize(
    "name", ["../config.py", "..%2fconfig.py", "%2e%2e/docs.py", "..\\docs.py", "docs.html", "/etc/passwd", "%00"]
)
def test_docs_hands_out_its_own_files_alone(client: FlaskClient, name: str) -> None:
    assert_refused(client.get(f"/docs/{name}"), 404, "route_not_found")
    assert client.get("/docs/docs.js").status_code == 200


def download(app: Flask) -> TestResponse:
    return app.test_client().get("/document/download", query_string={"kb_id": KB_ID, "document_id": KB_ID})


@pytest.mark.parametrize("name", ["evil.html", "evil.svg", "evil.xhtml", "evil.js", "evil.pdf"])
def test_a_users_web_page_is_saved_by_a_browser_and_never_shown(app: Flask, any_dify: FakeDify, name: str) -> None:
    document = f"/v1/datasets/{KB_ID}/documents/{KB_ID}"
    any_dify.answer("GET", f"{document}/download", {"url": SIGNED})
    disposition = {"Content-Disposition": f'inline; filename="{name}"'}
    any_dify.mock.get(DIFY + SIGNED, body=b"<script>alert(1)</script>", headers=disposition, content_type="text/html")
    headers = download(app).headers
    assert headers["Content-Disposition"] == f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    "headers",
    [
        'Content-Disposition: attachment; filename="a\r\n Set-Cookie: evil=1"\r\n',
        "Content-Disposition: attachment; filename*=UTF-8''a%0d%0aSet-Cookie:%20evil=1\r\n",
        'Content-Disposition: attachment; filename="a\\"; evil=\\"1"\r\n',
        "Content-Disposition: attachment; filename*=UTF-8''%ED%A0%80evil\r\n",
        "Content-Disposition: attachment; filename*=no-charset''evil\r\n",
        "Content-Type: text/plain\r\n Set-Cookie: evil=1\r\n",
        "Content-Type: evil\r\n",
        "Content-Type:\r\n",
    ],
)
def test_difys_headers_put_none_into_our_answer(make_app: MakeApp, headers: str) -> None:
    def send(connection: socket.socket, request: bytes) -> None:
        more, body = (headers, b"x") if b"file-preview" in request else ("", b'{"url":"%s"}' % SIGNED.encode())
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), more.encode(), body))

    with loopback(send) as server:
        answer = download(make_app(DIFY_BASE_URL=server.url))
        assert (answer.status_code, answer.data) == (200, b"x"), answer.text
        assert "Set-Cookie" not in answer.headers
        # Within the quotes there is no quote and no backslash that is not escaped.
        in_ascii = r'filename="([ !#-\[\]-~]|\\["\\])*"'
        disposition = rf"attachment; {in_ascii}; filename\*=UTF-8''[\w.%-]+"
        assert re.fullmatch(disposition, answer.headers["Content-Disposition"])


# ------------------------------------------------------------------ where Dify's answers lead


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/files/f",
        "http://0x7f.1/files/f",
        "http://[::1]/files/f",
        "http://[::ffff:127.0.0.1]/files/f",
        "http://[dify.test]/files/f",
        "http://dify.test\\@elsewhere.test/files/f",
        "http://dify.test%2f@elsewhere.test/files/f",
        "http://dify.test.:80/files/f",
        "http://ｄify.test/files/f",
        "http:///files/f",
        "http:files/f",
        "gopher://dify.test/_x",
        "ftp://dify.test/f",
        "data:text/plain,x",
        "\\\\elsewhere.test\\f",
        "///elsewhere.test/f",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_an_address_that_is_not_difys_however_it_is_written_is_not_fetched(url: str) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{DIFY}/v1/datasets/d/documents/e/download", json={"url": url})
        files = dify_client(DIFY, files_url="https://files.test").files
        # The decoder refuses what is no address at all.
        with pytest.raises(DifyFailed, match="DIFY_FILES_URL|does not have the form"):
            files.open_file(files.locate("d", "e"))


def test_an_address_that_two_parsers_read_differently_leads_to_dify_or_nowhere(make_app: MakeApp) -> None:
    """`http://elsewhere\\@dify/` is Dify for urllib and elsewhere for browsers, and for urllib3 on its own."""
    urls: list[str] = []

    def send(connection: socket.socket, request: bytes) -> None:
        body = orjson.dumps({"url": urls[0]}) if b"/documents/" in request else b"x"
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with loopback(send) as dify, loopback(send) as elsewhere:
        app, there, here = make_app(DIFY_BASE_URL=dify.url), elsewhere.url[7:], dify.url[7:]
        for url in (
            *(f"http://{there}\\@{here}/f", f"http://{there}#@{here}/f", f"http://{there}?@{here}/f"),
            *(f"http://{here}@{there}/f", f"http://{here}:80@{there}/f", f"http://{there}\t@{here}/f"),
            *(f"/\\{there}/f", f"/@{there}/f", f"/..//{there}/f", f"/\t/{there}/f", f"/.{there}/f"),
        ):
            urls[:] = [url]
            assert download(app).status_code in (200, 502)
        assert elsewhere.requests == []
        assert dify.requests


def test_a_redirect_of_a_download_is_not_followed(make_app: MakeApp) -> None:
    with loopback(lambda connection, request: None) as elsewhere:

        def send(connection: socket.socket, request: bytes) -> None:
            body = b'{"url":"%s"}' % SIGNED.encode()
            moved = b"HTTP/1.1 302 Found\r\nLocation: %s/f\r\nContent-Length: 0\r\n\r\n" % elsewhere.url.encode()
            found = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            connection.sendall(moved if b"file-preview" in request else found)

        with loopback(send) as dify:
            answer = download(make_app(DIFY_BASE_URL=dify.url))
            assert_refused(answer, 502, "dify_failed")
            assert elsewhere.url not in answer.text and elsewhere.connections == 0


def test_no_parameter_of_a_request_is_an_address(app: Flask) -> None:
    names = {parameter.name for parameter in describe(app)}
    assert [name for name in names if re.search("url|uri|host|callback|hook|endpoint|address|proxy", name)] == []


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Host", "X-Original-URL", "X-Rewrite-URL"])
def test_no_link_or_redirect_is_made_of_what_a_request_calls_us(
    make_app: MakeApp, any_dify: FakeDify, header: str
) -> None:
    """Nor is there anything that a cache in between could be poisoned with."""
    console = {"DIFY_CONSOLE_EMAIL": "admin@example.com", "DIFY_CONSOLE_PASSWORD": "Secret123"}
    app = make_app(**console, PROXIES=1, ALLOWED_HOSTS=["evil.example"])
    client, evil = app.test_client(), {header: "/evil.example" if "URL" in header else "evil.example"}
    kb_id, document_id = play_file(any_dify, with_details=True)
    query = {"kb_id": kb_id, "document_id": document_id}
    answers = [client.get("/v1/document/get", query_string=query, headers=evil)]
    for rule in app.url_map.iter_rules():
        for method in rule.methods & set(METHODS):
            answers.append(client.open(path_of(rule), method=method, headers=evil))
    for path in ("/nothing", "/kb//list", "//kb/list", "/kb/list/", "/v1"):
        answers.append(client.get(path, headers=evil))
    for answer in answers:
        assert "evil.example" not in f"{answer.headers} {answer.get_data(as_text=True)}"


# ------------------------------------------------------------------ input


@pytest.mark.parametrize("ids", ["x," * 1_000_000, ["x"] * 500_000, [KB_ID] * 100_000, "," * 1_000_000, ["x"] * 100])
@pytest.mark.parametrize(("path", "name"), [("/document/rm", "doc_id"), ("/conversation/rm", "conversation_id")])
def test_a_flood_of_ids_gets_a_short_answer(
    client: FlaskClient, path: str, name: str, ids: Any, nothing_upstream: None
) -> None:
    """Each wrong one had a sentence once: 4 MB of them took 16 s, and were answered with 200 MB."""
    answer = client.post(path, json={"kb_id": KB_ID, "user_id": "alice", name: ids})
    assert_refused(answer, 400, "validation_failed")
    assert len(answer.data) < 2000


@pytest.mark.parametrize("path", ["/user/login", "/kb/list", "/kb/create"])
def test_a_form_of_a_million_fields_is_a_413(client: FlaskClient, path: str, nothing_upstream: None) -> None:
    form = "application/x-www-form-urlencoded"
    assert_refused(client.post(path, data=b"a=1&" * 1_000_000, content_type=form), 413, "request_too_large")


def test_ten_thousand_parameters_that_nobody_knows_change_nothing(client: FlaskClient, any_dify: FakeDify) -> None:
    many = {f"field{number}": "x" for number in range(10_000)}
    for given in ({"query_string": many}, {"json": many}, {"data": many}):
        any_dify.play("datasets/list-default")
        assert client.post("/kb/list", **given).json["code"] == 0


DEEP = b"[" * 900 + b"]" * 900


@pytest.mark.parametrize("deep", [DEEP, b'{"a":' * 900 + b"1" + b"}" * 900], ids=["lists", "objects"])
def test_deep_json_in_any_parameter_is_refused(app: Flask, client: FlaskClient, deep: bytes) -> None:
    """As deep as it may be to be read at all."""
    with responses.RequestsMock():
        for parameter in describe(app):
            if not parameter.is_form and parameter.name != "user_id":
                body = b'{"user_id":"alice","%s":%s}' % (parameter.name.encode(), deep)
                answer = client.open(
                    parameter.path, method=parameter.method, data=body, content_type="application/json"
                )
                assert_refused(answer, 400, "validation_failed")


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" * 4000, b"9223372036854775808", b"-0.0e-999", b"1e18"])
def test_numbers_beyond_all_measure_are_refused(client: FlaskClient, number: bytes, nothing_upstream: None) -> None:
    body = b'{"user_id":"alice","page":%s}' % number
    assert_refused(
        client.post("/conversation/list", data=body, content_type="application/json"), 400, "validation_failed"
    )


@pytest.mark.parametrize("history", ["²", "--5", "-", "٣", "5" * 5000, "1_000", "+5", [{}], [{"role": "user"}] * 9999])
def test_a_history_in_odd_digits_or_of_thousands_is_a_400(
    client: FlaskClient, history: Any, nothing_upstream: None
) -> None:
    body = {"user_id": "alice", "message": "?", "history": history}
    assert_refused(client.post("/conversation/completion", json=body), 400, "validation_failed")


@pytest.mark.parametrize("batch", ["批次", "²", "ｂatch", "%2e%2e", "..%2f", "a" * 65])
def test_a_batch_in_other_letters_never_gets_into_a_path(
    client: FlaskClient, batch: str, nothing_upstream: None
) -> None:
    answer = client.get("/document/status", query_string={"kb_id": KB_ID, "batch": batch})
    assert_refused(answer, 400, "validation_failed")


def test_a_packed_body_is_not_unpacked(client: FlaskClient, nothing_upstream: None) -> None:
    """Nothing here unpacks a body, so none can blow up: 40 kB would be 40 MB."""
    bomb = gzip.compress(b'{"kb_id":"' + b"x" * 40_000_000 + b'"}')
    for encoding in ("gzip", "deflate", "br", "zstd"):
        packed = {"data": bomb, "headers": {"Content-Encoding": encoding}}
        answer = client.post("/kb/rm", content_type="application/json", **packed)
        assert_refused(answer, 415, "unsupported_media_type")
        upload = client.post("/document/upload", content_type="multipart/form-data; boundary=b", **packed)
        assert_refused(upload, 415, "unsupported_media_type")


INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE user; --",
    '" OR ""="',
    "\\'; --",
    "%",
    "_",
    "1) UNION SELECT 1 --",
    "${7*7}",
]


@pytest.mark.parametrize("injected", INJECTIONS)
def test_sql_in_a_text_is_a_text(engine: Engine, migrated: Flask, injected: str) -> None:
    client = migrated.test_client()
    mine = add_conversation(engine, "alice")
    for path, name in (("/conversation/list", "user_id"), ("/conversation/list", "chat_type")):
        given = {"user_id": "alice", name: injected}
        assert client.post(path, json=given).json["data"]["total"] == 0
    body = {"user_id": "alice", "conversation_id": mine, "name": injected}
    assert client.post("/conversation/rename", json=body).json["data"]["name"] == injected
    assert client.post("/conversation/rm", json={**body, "user_id": injected}).status_code == 404
    refused = client.post("/user/login", json={"username": injected, "password": injected})
    assert refused.status_code in (400, 401)
    assert client.get("/conversation/list?user_id=alice").json["data"]["total"] == 1


ODD = ["😀👩‍👩‍👧", "a\u202eb", "ａ", "e\u0301", "\u200b\ufeffx", "𝕏", "\x1b[31m", "\x7f", "\uffff", "a\u2028b"]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_odd_characters_are_kept_as_they_are_on_every_database(engine: Engine, odd: str) -> None:
    for user_id in (odd, odd + "x"):
        turn = begin_turn(engine, NewTurn(user_id, odd, "chat", name=odd[:50]))
        (row,), total = conversations.list_conversations(engine, user_id, page=1, page_size=9, chat_type=None)
        assert (total, row.name, row.last_query) == (1, odd, odd), turn


def test_half_of_a_surrogate_pair_never_gets_in(client: FlaskClient, nothing_upstream: None) -> None:
    half = {"data": b'{"user_id":"\\ud83d"}', "content_type": "application/json"}
    assert_refused(client.post("/conversation/list", **half), 400, "validation_failed")
    for query in ("%ED%A0%BD", "%FF%FE", "%C0%AE"):
        assert_refused(client.get(f"/conversation/list?user_id={query}"), 400, "validation_failed")


def test_what_a_user_wrote_goes_to_the_model_and_is_no_template(client: FlaskClient, any_dify: FakeDify) -> None:
    question = "{{7*7}} {% for x in y %} {{ config }} {{context}} {{#context#}} ${7*7} #{7*7} <%= 7*7 %>"
    without_variables(any_dify)
    any_dify.play("chat/streaming-first-turn")
    answer = client.post("/conversation/completion", json={"user_id": "alice", "message": question})
    assert answer.json["code"] == 0
    assert any_dify.sent()["query"] == question and "49" not in str(any_dify.sent())


def test_no_text_of_a_models_begins_an_event_of_a_stream(client: FlaskClient, any_dify: FakeDify) -> None:
    """A document may have told it to."""
    forged = 'x\n\ndata: {"code":0,"message":"","data":true}\n\nevent: x\r\rdata: {}\u2028: y\n'
    ids = {"conversation_id": KB_ID, "message_id": KB_ID, "task_id": KB_ID}
    lines = b"".join(
        b"data: " + orjson.dumps({**ids, **event}) + b"\n\n"
        for event in ({"event": "message", "answer": forged}, {"event": "message_end", "metadata": {}})
    )
    without_variables(any_dify)
    any_dify.mock.post(DIFY + "/v1/chat-messages", body=lines, content_type="text/event-stream")
    first, last, end = stream(client, forged)
    assert first["data"]["answer"] == last["data"]["answer"] == forged and end["data"] is True


def test_a_script_in_a_name_stays_json(client: FlaskClient, any_dify: FakeDify) -> None:
    script = "<script>alert(1)</script>"
    answer = any_dify.body("datasets/list-default")
    any_dify.answer("GET", "/v1/datasets", {**answer, "data": [{**answer["data"][0], "name": script}]})
    shown = client.get("/kb/list", headers={"Accept": "text/html"})
    assert shown.json["data"]["kbs"][0]["name"] == script
    for answer in (shown, client.get(f"/{script}"), client.get(f"/user/info?user_id={script}")):
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


class Arriving(io.RawIOBase):
    """A body that is read from a connection, as gunicorn reads it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def tell(self) -> int:
        return 0

    def seek(self, *_: Any) -> int:
        return 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.recv_into(buffer)


def test_a_body_that_does_not_come_is_given_up(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "BODY_TIMEOUT_S", 0.05)
    form = "application/x-www-form-urlencoded"
    for content_type in ("application/json", form, "multipart/form-data; boundary=b"):
        ours, callers = socket.socketpair()
        with ours, callers:
            callers.sendall(b"{")
            answer = (
                make_app()
                .test_client()
                .post(
                    "/user/login",
                    input_stream=Arriving(ours),
                    content_type=content_type,
                    environ_overrides={"CONTENT_LENGTH": "100", "gunicorn.socket": ours},
                )
            )
            assert_refused(answer, 408, "request_timeout")


# ------------------------------------------------------------------ what gets out


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, "<html><h1>Traceback (most recent call last)</h1></html>"),
        (500, '{"message": "Internal Server Error"}'),
        (502, "<html>nginx/1.2.3 at 10.0.0.5</html>"),
        (302, ""),
        (200, "<html>not a Dify</html>"),
        (400, '{"code": "x", "message": "(psycopg2.errors.Undefined) LINE 1: SELECT secret FROM x"}'),
        (400, '{"code": "x", "errors": {"file": "no connection to http://10.0.0.5:5001"}}'),
        (413, "<html>413 nginx</html>"),
    ],
)
def test_a_raw_upload_gets_nothing_of_difys_insides_either(
    client: FlaskClient, any_dify: FakeDify, status: int, body: str
) -> None:
    """Of all answers this one alone is Dify's own, unchanged, where it is fit to be read."""
    any_dify.answer("GET", f"/v1/datasets/{KB_ID}/documents", {"data": [], "total": 0})
    any_dify.mock.post(DIFY + CREATE, body=body, status=status)
    form = {"data": "{}", "file": (BytesIO(b"x"), "a.txt")}
    answer = client.post(f"/datasets/{KB_ID}/document/create_by_file", data=form)
    assert answer.json["error"].startswith("dify_") and answer.json["code"] == -1
    assert not re.search(r"<|10\.0|Traceback|SELECT|Internal Server", answer.json["message"])


def test_a_raw_upload_that_is_cut_off_is_told_at_once_and_not_after_difys_timeout(
    client: FlaskClient, make_app: MakeApp
) -> None:
    with loopback(lambda connection, request: sleep(5)) as server:
        answer = (
            make_app(DIFY_BASE_URL=server.url)
            .test_client()
            .post(
                f"/datasets/{KB_ID}/document/create_by_file",
                input_stream=BytesIO(b"--b\r\n"),
                content_type="multipart/form-data; boundary=b",
                environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "1000"},
            )
        )
    assert answer.status_code == 400 and answer.json["code"] == -1


@pytest.mark.parametrize("said", ["no route to http://10.0.0.5:11434", "<b>Traceback</b>", "key sk-12345678 is wrong"])
def test_an_error_in_a_stream_tells_nothing_of_difys_insides(
    client: FlaskClient, any_dify: FakeDify, said: str
) -> None:
    event = {"event": "error", "status": 400, "code": "completion_request_error", "message": said}
    for streaming in (True, False):
        without_variables(any_dify)
        lines = b"data: " + orjson.dumps(event) + b"\n\n"
        any_dify.mock.post(DIFY + "/v1/chat-messages", body=lines, content_type="text/event-stream")
        body = {"user_id": "alice", "message": "?", "streaming": streaming}
        answer = client.post("/conversation/completion", json=body)
        assert not re.search(r"10\.0|Traceback|sk-1", answer.get_data(as_text=True))
        any_dify.mock.reset()


def what_is_logged() -> io.StringIO:
    """The log of the gateway that was made last, as it is written."""
    (handler,) = [each for each in logging.getLogger("route_api").handlers if hasattr(each, "setStream")]
    handler.setStream(written := io.StringIO())
    return written


HUSH = {
    "DIFY_DATASET_API_KEY": "dataset-hush-hush-hush-1",
    "DIFY_APP_API_KEY": "app-hush-hush-hush-2",
    "DIFY_APPS": {"small": "app-hush-hush-hush-3"},
    "DIFY_CONSOLE_EMAIL": "admin@example.com",
    "DIFY_CONSOLE_PASSWORD": "Hush4hushhush",
    "API_KEYS": ["service-hush-hush-hush-5"],
    "SECRET_KEY": "secret-hush-hush-hush-6",
    "LOG_LEVEL": "DEBUG",
}


def test_no_secret_is_in_any_answer_log_or_repr(
    make_app: MakeApp, dify: FakeDify, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app = make_app(**HUSH)
    client, logged = app.test_client(), what_is_logged()
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer service-hush-hush-hush-5"
    seen = [
        repr(Config.load(**HUSH)),
        repr(app.extensions["route_api"].dify),
        repr(vars(app.extensions["route_api"].dify)),
    ]
    seen += [repr(part) for part in vars(app.extensions["route_api"].dify).values()]
    for scene in SCENES.values():
        dify.mock.reset()
        dify.mock.assert_all_requests_are_fired = False
        answer = scene(dify, client)
        seen += [answer.text, str(answer.headers)]
    dify.mock.reset()
    for case in ("datasets/list-wrong-key",):
        dify.play(case)
        seen.append(client.get("/kb/list").text)
    user = {"username": "yinglian", "password": "Hush7hushhush"}
    seen += [client.post("/user/register", json=user).text, client.get("/openapi.json").text]
    assert client.post("/user/login", json=user).json["code"] == 0
    assert logged.getvalue()
    seen += [logged.getvalue(), caplog.text]
    assert len(seen) > 40
    assert [shown for shown in seen if "ush-hush" in shown or "hushhush" in shown or "SHVzaDRo" in shown] == []


def test_a_failing_database_puts_no_hash_and_no_password_into_the_log(
    make_app: MakeApp,
) -> None:
    app, logged = make_app(**LOCKED), what_is_logged()
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(text('DROP TABLE "user"'))
    user = {"username": "yinglian", "password": "a very long sentence"}
    answer = app.test_client().post("/user/register", json=user, headers=bearer(KEY))
    assert_refused(answer, 503, "database_unavailable")
    assert "OperationalError" in logged.getvalue()
    assert not re.search("scrypt|a very long sentence", logged.getvalue())


def test_health_tells_nothing_but_that_we_live(gate: FlaskClient) -> None:
    answer = gate.get("/healthz")
    assert answer.json.keys() == {"code", "data", "elapsed_s", "message"} and answer.json["data"] == "ok"
    assert not re.search(r"\d+\.\d+\.\d+", f"{answer.headers} {answer.json['message']}"), "no version of anything"


FORGED = "2026-01-01 00:00:00,000 CRITICAL route_api [forged] forged"
LINE = re.compile(r'\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d|\s|\{.*"message"')


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_text_of_a_callers_begins_a_line_of_the_log(make_app: MakeApp, any_dify: FakeDify, form: str) -> None:
    app = make_app(**LOCKED, LOG_FORMAT=form, LOG_LEVEL="DEBUG")
    client, user, logged = app.test_client(), registered(app), what_is_logged()
    any_dify.mock.get(f"{DIFY}/v1/datasets", body=f'{{"message": "x\\n{FORGED}"}}', status=400)
    for end in ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"):
        evil = f"x{end}{FORGED}"
        raw = evil.encode().decode("latin-1")
        environ = {"HTTP_X_REQUEST_ID": raw, "HTTP_USER_AGENT": raw, "HTTP_REFERER": raw, "HTTP_HOST": raw}
        for headers in (bearer(KEY), user["headers"], bearer("x")):
            client.get(f"/{evil}", headers=headers, environ_overrides=environ)
            client.get("/kb/list", query_string={"keywords": evil}, headers=headers)
            client.post("/user/login", json={"username": evil, "password": evil}, headers=headers)
            client.get("/user/info", query_string={"user_id": evil}, headers=headers)
            client.post("/conversation/rename", json={"user_id": evil, "conversation_id": evil}, headers=headers)
            upload = {"kb_id": KB_ID, "file": (BytesIO(b"x"), evil)}
            client.post("/document/upload", data=upload, headers=headers, environ_overrides=environ)
    client.patch(f"/datasets/{KB_ID}/documents/{KB_ID}/segment/{FORGED}", headers=bearer(KEY))
    lines = logged.getvalue().splitlines()
    assert len(lines) > 50
    assert [line for line in lines if line.startswith(FORGED) or not LINE.match(line)] == []
    if form == "json":
        assert all(orjson.loads(line)["message"] for line in lines)
