"""The console page at `/`, without a browser: its files, their headers, and what they may not do."""

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from route_api.views.console import CLIENT_FILES, FOLDERS, PAGE_FILES

from ..support.gateway_client import MakeApp

SCRIPTS = sorted(PAGE_FILES.glob("*.js"))
IMPORT = re.compile(r'from "\./([\w.-]+)";$', re.MULTILINE)
HTML_SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
)


def texts_of(language: str) -> dict[str, str]:
    lines = (PAGE_FILES / f"texts-{language}.js").read_text(encoding="utf-8")
    return dict(re.findall(r'^    "([^"]+)": "(.*)",$', lines, re.M))


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_page_and_all_that_it_loads_are_served_under_the_same_prefix(client: FlaskClient, prefix: str) -> None:
    page = client.get(f"{prefix}/")
    assert client.get(prefix).data == page.data
    assert (page.status_code, page.mimetype) == (200, "text/html")
    named = re.findall(r'(?:src|href)="(console/[^"]+)"', page.text)
    imported = {name for script in SCRIPTS for name in IMPORT.findall(script.read_text(encoding="utf-8"))}
    assert len(named) == 4 and "route-api.js" in imported
    for path in {*named, *(f"console/{name}" for name in imported)}:
        answer = client.get(f"{prefix}/{path}")
        assert answer.status_code == 200 and answer.mimetype in ("text/javascript", "text/css", "image/svg+xml"), path


def test_the_client_is_the_very_file_that_others_copy(client: FlaskClient) -> None:
    assert client.get("/console/route-api.js").data == (CLIENT_FILES / "route-api.js").read_bytes()


def test_the_page_runs_nothing_that_stands_in_it_and_asks_no_other_host(client: FlaskClient) -> None:
    page = client.get("/")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?:", page.text)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "style-src 'self'" in policy
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy and "data:" not in policy


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_module_reads_a_text_as_html_and_none_is_long(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert not HTML_SINKS.search(text)
    assert text.count("\n") < 330


def test_a_browser_asks_each_time_whether_a_file_has_changed(client: FlaskClient) -> None:
    for path in ("/", "/console/main.js"):
        first = client.get(path)
        assert first.cache_control.no_cache and not first.cache_control.no_store
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "none.js", "..%2fapp.py", "%2e%2e%2f%2e%2e%2fconfig.py", "README.md"])
def test_no_other_file_is_served(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/console/{name}")
    assert (answer.status_code, answer.json["error"]) == (404, "route_not_found")


def test_a_setting_turns_it_off(make_app: MakeApp) -> None:
    client = make_app(CONSOLE="off").test_client()
    for path in ("/", "/v1/", "/console/main.js"):
        answer = client.get(path)
        assert (answer.status_code, answer.json["error"]) == (404, "route_not_found")
    assert client.get("/docs").status_code == 200


def test_below_the_page_an_unknown_path_is_in_the_envelope(client: FlaskClient) -> None:
    answer = client.get("/kbs")
    assert (answer.status_code, answer.json["code"], answer.json["error"]) == (404, -1, "route_not_found")


def test_both_languages_have_the_same_texts_with_the_same_values_in_them() -> None:
    english, chinese = texts_of("en"), texts_of("zh")
    assert english.keys() == chinese.keys() and len(english) > 200
    places = re.compile(r"\{(\w+)\}")
    differing = [key for key in english if set(places.findall(english[key])) != set(places.findall(chinese[key]))]
    assert differing == []


def test_each_text_that_a_module_names_exists() -> None:
    known = texts_of("en").keys()
    named = {name for script in SCRIPTS for name in re.findall(r'\bt\("([^"]+)"', script.read_text(encoding="utf-8"))}
    assert named - known == set()


def test_every_module_is_loaded_by_another_one() -> None:
    imported = {name for script in SCRIPTS for name in IMPORT.findall(script.read_text(encoding="utf-8"))}
    assert {name for name in FOLDERS if name.endswith(".js")} - imported == {"main.js"}
