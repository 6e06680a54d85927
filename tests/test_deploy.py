"""The files of deploy/ that no test can run here, as those read them who will: linters, systemd, docker compose."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER

from config import PROJECT_DIR, Config
from route_api.server.gevent_worker import STOP_LINGER_S

from .support.deployment import program
from .support.patience import PATIENCE_S

DEPLOY = PROJECT_DIR / "deploy"
MOST_EXPOSED = "20"
"""Of 100, as `systemd-analyze security` counts; a service that asks for no protection has 96."""


def run(*command: str | Path, **settings: str) -> None:
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The systemd unit, as if this clone were /opt/route-api: systemd looks whether the programs are there."""
    path = tmp_path_factory.mktemp("systemd") / "route-api.service"
    path.write_text((DEPLOY / "route-api.service").read_text().replace("/opt/route-api", str(PROJECT_DIR)))
    return path


def value(unit: Path, name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)
    assert found, f"{unit} has no {name}"
    return found[1]


@pytest.mark.server
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    run(program("systemd-analyze"), "verify", unit)


@pytest.mark.server
def test_the_unit_leaves_little_exposed(unit: Path) -> None:
    analyze = program("systemd-analyze")
    run(analyze, "security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)


def test_systemd_waits_longer_than_running_answers_may_take_to_end(unit: Path) -> None:
    assert int(value(unit, "TimeoutStopSec")) > Config(AUTH="open").STOP_GRACE


def test_nginx_closes_idle_connections_well_before_a_stopping_gateway_does() -> None:
    upstream = re.search(r"^upstream .*?^}", (DEPLOY / "nginx.conf").read_text(), re.MULTILINE | re.DOTALL)
    assert upstream
    (seconds,) = re.findall(r"^ *keepalive_timeout (\d+)s;", upstream[0], re.MULTILINE)
    assert 2 * int(seconds) <= min(STOP_LINGER_S, STOP_KEEPALIVE_LINGER)


@pytest.mark.server
def test_the_container_file_passes_its_linter() -> None:
    run(program("hadolint"), DEPLOY / "Containerfile")


def test_the_image_gets_all_that_the_gateway_is_made_of_and_nothing_else() -> None:
    lines = (PROJECT_DIR / ".dockerignore").read_text().splitlines()
    let_through = [line[1:] for line in lines if line.startswith("!")]
    assert lines.index("*") < lines.index(f"!{let_through[0]}")
    assert [name for name in let_through if not (PROJECT_DIR / name).exists()] == []
    needed = {
        "clients/javascript/route-api.js",
        "config.py",
        "gunicorn.conf.py",
        "migrations",
        "prompts.toml",
        "requirements-traces.txt",
        "requirements.txt",
        "route_api",
        "wsgi.py",
    }
    assert set(let_through) == needed


@pytest.mark.server
def test_docker_compose_understands_the_compose_file(tmp_path: Path) -> None:
    copy = tmp_path / "deploy" / "compose.yaml"
    copy.parent.mkdir()
    copy.write_text((DEPLOY / "compose.yaml").read_text())
    (tmp_path / ".env").touch()
    run(program("docker-compose"), "-f", copy, "config", "-q", POSTGRES_PASSWORD="secret")


def test_nginx_takes_bodies_as_large_as_the_gateway_does() -> None:
    site, defaults = (DEPLOY / "nginx.conf").read_text(), Config(AUTH="open")
    assert re.findall(r"client_max_body_size (\d+)m;", site) == [str(defaults.MAX_JSON_MB), str(defaults.MAX_UPLOAD_MB)]


def test_nginx_waits_longer_than_the_gateway_waits_for_dify() -> None:
    site, defaults = (DEPLOY / "nginx.conf").read_text(), Config(AUTH="open")
    for direction in ("read", "send"):
        waits = re.search(rf"proxy_{direction}_timeout (\d+)s;", site)
        assert waits and int(waits[1]) > max(defaults.DIFY_CHAT_TIMEOUT, defaults.DIFY_UPLOAD_TIMEOUT)
