"""`dify/check`: what `flask dify check` finds, for callers with a service key."""

import re
import threading
from typing import Any

import pytest

from route_api.errors import TooManyRequests
from route_api.health import REPORT_S, CapabilityReport

from ..support.callers import assert_refused, registered
from ..support.gateway_client import MakeApp
from ..support.patience import PATIENCE_S
from ..support.settings import KEY, LOCKED

AWAY = {"DIFY_BASE_URL": "http://127.0.0.1:9", "DIFY_CONSOLE_EMAIL": "boss@example.com", "DIFY_CONSOLE_PASSWORD": "x"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_tells_what_is_missing_without_addresses_and_leaves_the_gateways_own_client_alone(
    make_app: MakeApp, method: str
) -> None:
    app = make_app(**LOCKED | AWAY)
    answer = app.test_client().open("/dify/check", method=method, headers={"Authorization": f"Bearer {KEY}"})
    data = answer.json["data"]
    states = {finding["capability"]: finding["state"] for finding in data["findings"]}
    assert (answer.status_code, data["works"], states["Dify"], states["callers"]) == (200, False, "missing", "works")
    assert "at DIFY_BASE_URL" in answer.text or "DIFY_BASE_URL: " in answer.text
    assert "127.0.0.1" not in answer.text and "boss@example.com" not in answer.text
    dify = app.extensions["route_api"].dify
    assert dify.transport.breaker is not None and dify.console.is_configured


def test_its_words_are_in_the_language_of_each_caller_also_if_it_was_made_for_another(make_app: MakeApp) -> None:
    app = make_app(**LOCKED | AWAY)
    key = {"Authorization": f"Bearer {KEY}"}
    english, chinese = (
        app.test_client().get("/dify/check", headers={**key, "Accept-Language": language}).json["data"]
        for language in ("en", "zh")
    )
    assert english["checked_at"] == chinese["checked_at"]
    for ours, theirs in zip(english["findings"], chinese["findings"], strict=True):
        assert ours["state"] == theirs["state"]
        for name in ("capability", "text", "remedy"):
            if re.sub(r"\b(Dify|[A-Z_]{4,})\b", "", ours[name]).strip(" :."):
                assert re.search("[\u4e00-\u9fff]", theirs[name]), theirs
    (dify,) = (finding for finding in chinese["findings"] if finding["capability"] == "Dify")
    assert dify["text"].startswith("DIFY_BASE_URL：") and not dify["text"].endswith(("。", "."))


def test_users_are_refused(make_app: MakeApp) -> None:
    app = make_app(**LOCKED)
    user = registered(app, "boss", "admin")
    assert_refused(app.test_client().get("/dify/check", headers=user["headers"]), 403, "forbidden")


def test_a_check_is_made_once_for_all_who_ask_within_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    now = [100.0]
    monkeypatch.setattr("route_api.health.monotonic", lambda: now[0])

    def make() -> dict[str, Any]:
        made.append(1)
        return {"works": len(made) == 1, "findings": []}

    latest = CapabilityReport(make)
    assert latest.latest()["works"] and latest.latest()["works"] and len(made) == 1
    now[0] += REPORT_S
    assert not latest.latest()["works"] and len(made) == 2


def test_nobody_waits_for_the_check_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("route_api.health.monotonic", lambda: now[0])
    begun, may_end = threading.Event(), threading.Event()

    def make() -> dict[str, Any]:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        return {"works": True, "findings": []}

    report = CapabilityReport(make)
    for number in range(2):
        begun.clear()
        may_end.clear()
        checking = threading.Thread(target=report.latest)
        checking.start()
        assert begun.wait(PATIENCE_S)
        if number == 0:
            with pytest.raises(TooManyRequests) as refused:
                report.latest()
            assert refused.value.retry_after == 5
        else:
            assert report.latest()["works"]
        may_end.set()
        checking.join(PATIENCE_S)
        now[0] += REPORT_S
