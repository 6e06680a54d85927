"""The page at `/docs`, without a browser: it loads files of this server and may load no others."""

import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient

OWN = re.compile(r'(?:src|href|data-document)="([^"?][^"]*)"')


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_all_that_the_page_names_is_served_under_the_same_prefix(client: FlaskClient, prefix: str) -> None:
    page = client.get(f"{prefix}/docs")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    named = set(OWN.findall(page.text))
    assert len(named) == 7 and not any(path.startswith(("/", "http")) for path in named), named
    for path in named:
        answer = client.get(urljoin(f"{prefix}/docs", path))
        assert answer.status_code == 200 and len(answer.data) > 10, path
        assert answer.mimetype in ("text/css", "text/javascript", "image/png", "application/json"), path


def test_a_slash_at_the_end_does_no_harm(client: FlaskClient) -> None:
    named = [
        [urljoin(address, path) for path in OWN.findall(client.get(address).text)] for address in ("/docs/", "/docs")
    ]
    assert named[0] == named[1] != []


def test_the_page_has_no_script_and_no_style_in_it_and_may_load_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?:", page.text)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "connect-src 'self'" in policy
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy


def test_the_document_describes_each_file_of_the_page(client: FlaskClient) -> None:
    path = client.get("/openapi.json").json["paths"]["/docs/{name}"]
    (name,), content = path["parameters"], path["get"]["responses"]["200"]["content"]
    for file in name["schema"]["enum"]:
        answer = client.get(f"/docs/{file}")
        described = content.get(answer.mimetype, content["*/*"])
        assert described["schema"]["type"] == ("object" if answer.is_json else "string"), file


@pytest.mark.parametrize("name", ["docs.html", "index.css", "..%2fwsgi.py", "%2e%2e%2f%2e%2e%2fconfig.py", "VERSION"])
def test_no_other_file_is_served(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/docs/{name}")
    assert (answer.status_code, answer.json["error"]) == (404, "route_not_found")


def test_the_assets_may_be_kept_by_a_browser_for_a_while(client: FlaskClient) -> None:
    first = client.get("/docs/swagger-ui-bundle.js")
    assert first.cache_control.max_age == 3600
    again = client.get("/docs/swagger-ui-bundle.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_callers_who_ask_first_at_the_same_time_get_the_whole_document(app: Flask) -> None:
    with ThreadPoolExecutor(4) as pool:
        documents = list(pool.map(lambda _: app.test_client().get("/openapi.json").json, range(4)))
    assert all(document == documents[0] for document in documents)
    assert "/kb/list" in documents[0]["paths"] and "/user/login" in documents[0]["paths"]
