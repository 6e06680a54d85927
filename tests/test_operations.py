"""docs/operations.md, the alerts and the dashboard against the metrics that the code has.

tests/end_to_end/test_prometheus.py evaluates the expressions on a running gateway.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from config import PROJECT_DIR

from .support.deployment import program
from .support.patience import PATIENCE_S
from .support.prometheus import ALERTS, DASHBOARD, DASHBOARD_QUERIES

PAGE = (PROJECT_DIR / "docs" / "operations.md").read_text(encoding="utf-8")
NAME = re.compile(r"route_api_\w+")
MINUTES = 60
SERIES = {
    'up{job="route-api", instance="a"}': "1+0",
    'route_api_requests_total{route="/kb/list", status="200"}': "0+100",
    'route_api_requests_total{route="/kb/list", status="502"}': "0+0",
    'route_api_requests_total{route="/readyz", status="503"}': "0+100",
    'route_api_dify_call_seconds_count{outcome="ok"}': "0+100",
    'route_api_dify_call_seconds_count{outcome="timeout"}': "0+0",
    'route_api_dify_breaker_open{kind="chat"}': "0+0",
    'route_api_dify_breaker_opened_total{kind="chat"}': "0+0",
    'route_api_streams_total{outcome="done"}': "0+100",
    'route_api_streams_total{outcome="failed"}': "0+0",
    'route_api_stream_first_token_seconds_bucket{le="10"}': "0+100",
    'route_api_stream_first_token_seconds_bucket{le="30"}': "0+100",
    'route_api_stream_first_token_seconds_bucket{le="+Inf"}': "0+100",
    'route_api_store_failures_total{what="answer"}': "0+0",
    "route_api_dead_letters_total": "0+0",
}
"""A gateway where all is well: the first value and what is added each minute. A load balancer hears that the gateway is
not ready, which is no failed request of a caller."""

FAILURES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "RouteApiDown": ({'up{job="route-api", instance="a"}': "0+0"}, {"job": "route-api", "instance": "a"}),
    "RouteApiRequestsFail": ({'route_api_requests_total{route="/kb/list", status="502"}': "0+10"}, {}),
    "RouteApiDifyRefused": ({'route_api_dify_breaker_open{kind="chat"}': "1+0"}, {"kind": "chat"}),
    "RouteApiDifyUnstable": ({'route_api_dify_breaker_opened_total{kind="chat"}': "0+1"}, {"kind": "chat"}),
    "RouteApiDifyFails": ({'route_api_dify_call_seconds_count{outcome="timeout"}': "0+10"}, {}),
    "RouteApiFirstTokenLate": ({'route_api_stream_first_token_seconds_bucket{le="10"}': "0+50"}, {}),
    "RouteApiStreamsFail": ({'route_api_streams_total{outcome="failed"}': "0+10"}, {}),
    "RouteApiAnswersNotStored": ({'route_api_store_failures_total{what="answer"}': "0+1"}, {"what": "answer"}),
    "RouteApiDeadLetters": ({"route_api_dead_letters_total": "0+1"}, {}),
}
"""For each alert the series that differ when it is due, and the labels that it then has beside its severity."""


@pytest.fixture
def exposed(client: FlaskClient) -> dict[str, str]:
    """The type of each metric, by the name that a table or a person uses for it."""
    with client.get("/metrics") as answer:
        families = list(text_string_to_metric_families(answer.text))
    return {family.name + ("_total" if family.type == "counter" else ""): family.type for family in families}


def table(heading: str) -> list[list[str]]:
    """The first table below a heading of the page: the cells of its rows, the first one without its backquotes."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    first = section[section.index("|") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in first.strip().splitlines()[2:]]
    return [[row[0].strip("`"), *row[1:]] for row in rows]


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names, by the name of the whole metric."""
    return {re.sub(r"(?<=_seconds)_(bucket|count|sum)$", "", name) for name in NAME.findall(expression)}


def test_the_page_has_each_metric_with_its_type_its_meaning_and_what_to_do(exposed: dict[str, str]) -> None:
    rows = table("Metrics")
    assert {name: kind for name, kind, _, _ in rows} == exposed
    assert [name for name, _, meaning, help_text in rows if not meaning or not help_text] == []


def test_the_dashboard_shows_every_metric_and_no_other(exposed: dict[str, str]) -> None:
    assert set().union(*(metrics_of(query) for query in DASHBOARD_QUERIES)) == set(exposed)


def test_the_alerts_name_metrics_that_there_are_and_the_page_has_each_alert(exposed: dict[str, str]) -> None:
    assert set().union(*(metrics_of(alert["expr"]) for alert in ALERTS)) <= set(exposed)
    assert [row[0] for row in table("Alerts")] == [alert["alert"] for alert in ALERTS] == list(FAILURES)


def test_the_panels_lie_side_by_side_and_take_the_chosen_source_and_gateways() -> None:
    panels = DASHBOARD["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert [
        query for query in DASHBOARD_QUERIES if query.count('instance=~"$instance"') != len(NAME.findall(query))
    ] == []


def test_grafana_finds_the_dashboard_where_the_page_puts_it() -> None:
    (provider,) = yaml.safe_load((PROJECT_DIR / "deploy" / "grafana" / "dashboards.yaml").read_text())["providers"]
    assert f"deploy/grafana/dashboard.json {provider['options']['path']}/" in PAGE


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr


def case(number: int, changed: dict[str, str], due: dict[str, Any]) -> dict[str, Any]:
    """A test of `promtool test rules`: an hour of these series, and whether each alert is due at its end."""
    return {
        "name": f"case {number}",
        "interval": "1m",
        "input_series": [
            {"series": series, "values": f"{values}x{MINUTES}"} for series, values in {**SERIES, **changed}.items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{MINUTES}m", "alertname": alert["alert"], "exp_alerts": due.get(alert["alert"], [])}
            for alert in ALERTS
        ],
    }


@pytest.mark.server
def test_each_alert_comes_with_its_failure_alone_and_none_comes_without_one(tmp_path: Path) -> None:
    cases = [case(0, {}, {})]
    for number, alert in enumerate(ALERTS, 1):
        changed, labels = FAILURES[alert["alert"]]
        due = {"exp_labels": {**labels, **alert["labels"]}, "exp_annotations": alert["annotations"]}
        cases.append(case(number, changed, {alert["alert"]: [due]}))
    path = tmp_path / "test.yml"
    rules = str(PROJECT_DIR / "deploy" / "prometheus" / "alerts.yml")
    path.write_text(json.dumps({"rule_files": [rules], "evaluation_interval": "1m", "tests": cases}))
    promtool("test", "rules", path)


@pytest.mark.server
def test_prometheus_accepts_the_configuration_also_with_the_targets_of_kubernetes(tmp_path: Path) -> None:
    (tmp_path / "route-api.key").write_text("a-service-key\n")
    (tmp_path / "alerts.yml").write_text((PROJECT_DIR / "deploy" / "prometheus" / "alerts.yml").read_text())
    text = (PROJECT_DIR / "deploy" / "prometheus" / "prometheus.yml").read_text()
    here = text.replace("/etc/prometheus", str(tmp_path))
    kubernetes = re.sub(r"    static_configs:.*?(?=    # In Kubernetes)", "", here, flags=re.S)
    kubernetes = re.sub(r"^    # (?=dns_sd|  - names|    type|    port)", "    ", kubernetes, flags=re.M)
    (found,) = yaml.safe_load(kubernetes)["scrape_configs"]
    assert found["dns_sd_configs"] == [{"names": ["route-api-each"], "type": "A", "port": 8000}]
    for name, configuration in (("hosts.yml", here), ("kubernetes.yml", kubernetes)):
        (tmp_path / name).write_text(configuration)
        promtool("check", "config", tmp_path / name)
