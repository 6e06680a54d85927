"""Sets up a gateway for a Dify with an admin's login, in a new project, with the commands of the README."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import requests
from dotenv import dotenv_values

from config import Config
from route_api.sandbox.gateway_settings import prepare_gateway_settings

from ..support.clone import clone_project
from ..support.dify_client import dify_client
from ..support.first_five_minutes import assert_the_first_five_minutes_work
from ..support.patience import PATIENCE_S
from ..support.running_gateway import ENDS_WITH_US, PROJECT_DIR, answers, free_port

BIN = Path(sys.executable).parent


class Project:
    """A clone of this project without settings, and a Dify with an admin."""

    def __init__(self, folder: Path, dify_url: str, login: tuple[str, str]) -> None:
        self.folder = folder
        self.env_file = folder / ".env"
        self.dify_url = dify_url
        self.email, self.password = login
        ours = {entry.name for entry in fields(Config)}
        self.environment = {name: value for name, value in os.environ.items() if name not in ours}

    def flask(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [BIN / "flask", "--app", "wsgi", *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def provision(self) -> "subprocess.CompletedProcess[str]":
        options = ["--url", self.dify_url, "--email", self.email, "--password-stdin"]
        return self.flask("dify", "provision", *options, stdin=self.password + "\n")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    folder = clone_project(tmp_path)
    data_dir, port = tmp_path / "dify", free_port()
    access = prepare_gateway_settings(data_dir)
    log = (tmp_path / "dify.log").open("wb")
    command = [sys.executable, "-m", "route_api.sandbox", "--port", str(port), "--data-dir", str(data_dir)]
    command += ["--parent-pid", str(os.getpid())]
    with log, subprocess.Popen(command, cwd=PROJECT_DIR, stdout=log, stderr=log) as dify:
        url = f"http://127.0.0.1:{port}"
        wait_until_served(dify, f"{url}/health")
        try:
            yield Project(folder, url, (access["DIFY_CONSOLE_EMAIL"], access["DIFY_CONSOLE_PASSWORD"]))
        finally:
            dify.terminate()


def wait_until_served(process: "subprocess.Popen[bytes]", url: str) -> None:
    for _ in range(PATIENCE_S * 10):
        assert process.poll() is None, "the process ended at its start"
        if answers(url):
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer after {PATIENCE_S} s")


def test_three_commands_lead_to_a_gateway_that_answers_those_with_its_key(project: Project, tmp_path: Path) -> None:
    before = project.flask("dify", "check")
    assert before.returncode == 1 and "DIFY_BASE_URL is not set" in before.stdout

    provisioned = project.provision()
    assert provisioned.returncode == 0, provisioned.stderr
    settings = dotenv_values(project.env_file)
    written = project.env_file.read_bytes()
    again = project.flask("dify", "provision")
    assert again.returncode == 0, again.stderr
    assert project.env_file.read_bytes() == written and project.env_file.stat().st_mode & 0o777 == 0o600

    assert project.flask("db", "upgrade").returncode == 0
    checked = project.flask("dify", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    told = provisioned.stdout + provisioned.stderr + again.stdout + checked.stdout
    assert not [value for name, value in settings.items() if "KEY" in name or "PASSWORD" in name if value in told]

    port = free_port()
    environment = {**project.environment, **ENDS_WITH_US, "PORT": str(port), "WORKERS": "1"}
    command = [sys.executable, "-m", "gunicorn", "wsgi:app"]
    log_path = tmp_path / "gateway.log"
    with log_path.open("wb") as log:
        gateway = subprocess.Popen(command, cwd=project.folder, env=environment, stdout=log, stderr=log)
    try:
        base = f"http://127.0.0.1:{port}/v1"
        wait_until_served(gateway, f"{base}/healthz")
        question = {"user_id": "alice", "message": "葫芦庙在哪里？", "temperature": 0.2}
        refused = requests.post(f"{base}/conversation/completion", json=question, timeout=PATIENCE_S)
        assert refused.status_code == 401, refused.text
        key = {"Authorization": f"Bearer {settings['API_KEYS']}"}
        answered = requests.post(
            f"{base}/conversation/completion", json=question, headers=key, timeout=PATIENCE_S
        ).json()
        assert answered["code"] == 0 and answered["data"]["answer"], answered
        (project.folder / "docs").symlink_to(PROJECT_DIR / "docs")
        assert_the_first_five_minutes_work(port, project.folder, with_key=True)
    finally:
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(PATIENCE_S) == 0, log_path.read_text()


@pytest.mark.parametrize("half", ["DIFY_BASE_URL={url}\n", "DIFY_CONSOLE_EMAIL={email}\n"])
def test_settings_that_somebody_has_begun_to_write_are_finished(project: Project, half: str) -> None:
    begun = "# ours\n" + half.format(url=project.dify_url, email=project.email)
    project.env_file.write_text(begun)
    done = project.provision()
    assert done.returncode == 0, done.stderr
    assert project.env_file.read_text().startswith(begun)


def test_a_wrong_setting_is_told_in_words_by_every_command(project: Project) -> None:
    project.env_file.write_text("PORT=http\n")
    for command in (["dify", "provision"], ["dify", "check"], ["db", "upgrade"]):
        done = project.flask(*command)
        assert done.returncode == 2
        assert "PORT is wrong" in done.stderr and "Traceback" not in done.stderr


def test_a_run_that_is_killed_is_finished_by_the_next_and_nothing_is_made_twice(project: Project) -> None:
    options = ["--url", project.dify_url, "--email", project.email, "--password-stdin"]
    for delay in (0.9, 1.1, 1.3, 1.5):
        killed = subprocess.Popen(
            [BIN / "flask", "--app", "wsgi", "dify", "provision", *options],
            cwd=project.folder,
            env=project.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert killed.stdin is not None
        killed.stdin.write(project.password.encode() + b"\n")
        killed.stdin.close()
        time.sleep(delay)
        killed.kill()
        killed.wait()
    done = project.provision()
    assert done.returncode == 0, done.stderr
    dify = dify_client(project.dify_url, console_email=project.email, console_password=project.password)
    [app] = dify.provisioning.chat_apps("Route API")
    assert len(dify.provisioning.app_keys(app["id"])) == 1
    assert project.flask("dify", "provision").returncode == 0
