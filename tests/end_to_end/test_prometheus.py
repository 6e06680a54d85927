"""A real Prometheus reads a running gateway of two workers: each query of the dashboard and each alert has a result."""

import re
import time
from collections.abc import Iterator

import pytest

from ..support.deployment import SERVICE_KEY
from ..support.patience import PATIENCE_S
from ..support.prometheus import ALERTS, DASHBOARD, DASHBOARD_QUERIES, Prometheus
from ..support.running_gateway import Gateway, wait_for

pytestmark = pytest.mark.server
STEPS = 3
"""How often each request is made, with a scrape in between, so that `rate` has something to see."""

LIMIT = re.compile(r" [<>] [\d.]+$")
"""The end of an alert's expression. What is before it must have a result also while all is well."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that wants a service key, and has had good and bad requests."""
    folder = tmp_path_factory.mktemp("watched")
    running = Gateway(folder, AUTH="required", API_KEYS=SERVICE_KEY)
    running.http.headers["Authorization"] = f"Bearer {SERVICE_KEY}"
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def prometheus(watched: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), SERVICE_KEY, [watched.port])
    running.start()
    wait_for(lambda: bool(running.query("up")))  # Prometheus begins to read five seconds after its start.
    for _ in range(STEPS):
        make_requests(watched)
        time.sleep(1.5)
    yield running
    running.stop()


def make_requests(gateway: Gateway) -> None:
    """A list, a stream, and a model that fails."""
    gateway.get("kb/list")
    for query, status in (("你好", 200), ("[[midfail]]", 502)):
        body = {"user_id": "u-watched", "query": query, "stream": status == 200}
        answer = gateway.http.post(f"{gateway.base}/chat/chat", json=body, timeout=PATIENCE_S)
        assert answer.status_code == status and answer.content


def expressions() -> list[str]:
    return [query.replace("$instance", ".+").replace("$__rate_interval", "1m") for query in DASHBOARD_QUERIES]


def test_prometheus_reads_the_gateway_with_its_key(watched: Gateway, prometheus: Prometheus) -> None:
    (target,) = prometheus.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert [result["value"][1] for result in prometheus.query('up{job="route-api"}')] == ["1"]


def test_each_query_of_the_dashboard_has_a_result(prometheus: Prometheus) -> None:
    wait_for(lambda: [query for query in expressions() if not prometheus.query(query)] == [])


def test_the_dashboard_offers_the_gateways_to_choose(watched: Gateway, prometheus: Prometheus) -> None:
    (chosen,) = [item for item in DASHBOARD["templating"]["list"] if item["name"] == "instance"]
    named = re.fullmatch(r"label_values\((\w+), (\w+)\)", chosen["query"])
    assert named and prometheus.get(f"label/{named[2]}/values", **{"match[]": named[1]}) == [
        f"127.0.0.1:{watched.port}"
    ]


def test_each_alert_is_evaluated_and_what_it_compares_has_a_result(prometheus: Prometheus) -> None:
    def evaluated() -> bool:
        (group,) = prometheus.get("rules")["groups"]
        return [rule["health"] for rule in group["rules"]] == ["ok"] * len(ALERTS)

    wait_for(evaluated)
    compared = [LIMIT.sub("", alert["expr"]) for alert in ALERTS]
    assert [alert["expr"] for alert, left in zip(ALERTS, compared, strict=True) if alert["expr"] == left] == []
    wait_for(lambda: [left for left in compared if not prometheus.query(left)] == [])


def test_the_alerts_that_are_due_are_those_of_the_requests_that_failed(prometheus: Prometheus) -> None:
    """A third of the requests fail, because the model does. Dify itself answers, and the streams are done."""

    def due() -> set[str]:
        return {alert["alert"] for alert in ALERTS if prometheus.query(alert["expr"])}

    wait_for(lambda: due() == {"RouteApiRequestsFail"})
