"""A Prometheus with the files of deploy/prometheus/, and the expressions of its alerts and of the dashboard."""

import json
from pathlib import Path
from typing import Any

import yaml

from config import PROJECT_DIR

from .deployment import Process, program
from .patience import PATIENCE_S
from .running_gateway import answers, free_port, session

DEPLOY = PROJECT_DIR / "deploy"
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
DASHBOARD_QUERIES: list[str] = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


class Prometheus(Process):
    """Prometheus with deploy/prometheus/prometheus.yml, whose key, gateways and intervals are replaced."""

    def __init__(self, folder: Path, key: str, ports: list[int]) -> None:
        self.port = free_port()
        (folder / "route-api.key").write_text(f"{key}\n")
        (folder / "alerts.yml").write_text((DEPLOY / "prometheus" / "alerts.yml").read_text())
        configuration = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        targets = json.dumps([f"127.0.0.1:{port}" for port in ports])
        changes = {"/etc/prometheus": str(folder), '["127.0.0.1:8000"]': targets, "_interval: 15s": "_interval: 1s"}
        for given, value in changes.items():
            assert given in configuration, f"deploy/prometheus/prometheus.yml has no {given}"
            configuration = configuration.replace(given, value)
        (folder / "prometheus.yml").write_text(configuration)
        # If this process is killed, Linux sends SIGTERM to Prometheus.
        command = [program("setpriv"), "--pdeathsig", "TERM", program("prometheus")]
        files = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        super().__init__("prometheus", [*command, *files, f"--web.listen-address=127.0.0.1:{self.port}"], folder)

    def is_up(self) -> bool:
        return answers(f"http://127.0.0.1:{self.port}/-/ready")

    def get(self, path: str, **params: str) -> Any:
        """Call Prometheus' API and return its `data`."""
        answer = session().get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=params, timeout=PATIENCE_S).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now."""
        return list(self.get("query", query=expression)["result"])
