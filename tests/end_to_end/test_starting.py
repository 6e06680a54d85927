"""How the gateway starts and ends: wrong settings, a second start, killed processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from socket import create_server

import pytest
import requests

from ..support.clone import clone_project
from ..support.deployment import program
from ..support.patience import PATIENCE_S
from ..support.running_gateway import ENDS_WITH_US, PROJECT_DIR, Gateway, answers, free_port, wait_for

BIN = Path(sys.executable).parent
DIFY = {"DIFY_BASE_URL": "http://127.0.0.1:9", "DIFY_DATASET_API_KEY": "dataset-x", "DIFY_APP_API_KEY": "app-x"}
COMMANDS = {
    "gunicorn": [BIN / "gunicorn", "wsgi:app"],
    "flask": [BIN / "flask", "--app", "wsgi", "user", "role", "lin", "admin"],
    "make serve": [sys.executable, "-m", "route_api"],
}
FOLDER = "route-api-metrics-*"


def run(command: str, folder: Path, cwd: Path = PROJECT_DIR, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run one of COMMANDS until it ends. Its temporary files, database and sandbox are in the folder."""
    environment = own_environment(folder, **settings)
    # root may read every file, unless it does without these two capabilities.
    unprivileged = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*unprivileged, *COMMANDS[command]],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def own_environment(folder: Path, **settings: str) -> dict[str, str]:
    own = {"TMPDIR": str(folder), "SANDBOX_DATA_DIR": str(folder), "DATABASE_URL": f"sqlite:///{folder}/a.sqlite3"}
    return {**os.environ, **own, **settings}


# ------------------------------------------------------------------ wrong settings


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"API_KEYS": "short", "PORT": "http"}, "API_KEYS is wrong: must have 16 characters or more"),
        ({"DATABASE_URL": "postgres://lin:hush@host:port/name"}, "DATABASE_URL is wrong: must be an address"),
        ({"PROMPTS_FILE": "/nowhere.toml"}, "The prompt templates cannot be read from /nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_a_sentence_and_status_2(
    command: str, settings: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    done = run(command, tmp_path, **{**DIFY, "AUTH": "open", **settings})
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr and "Traceback" not in done.stderr and "hush" not in done.stderr
    assert all(name in done.stderr for name in settings if name != "PROMPTS_FILE")
    assert list(tmp_path.glob(FOLDER)) == []


@pytest.mark.parametrize("command", ["gunicorn", "make serve"])
def test_a_missing_setting_is_a_sentence_and_status_2(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path, **{**DIFY, "DIFY_APP_API_KEY": "", "PORT": str(free_port())})
    assert done.returncode == 2, done.stderr
    assert "\nDIFY_APP_API_KEY is missing" in done.stderr and "\nAPI_KEYS is not set" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def clone_of_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this project."""
    return clone_project(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def clone(clone_of_module: Path) -> Iterator[Path]:
    """That clone, for a `.env` of the test's own."""
    yield clone_of_module
    env = clone_of_module / ".env"
    env.rmdir() if env.is_dir() else env.unlink()


def write_unreadable(path: Path) -> None:
    path.write_text("PORT=8000\n")
    path.chmod(0)


def write_gbk(path: Path) -> None:
    path.write_bytes("SANDBOX_LLM_MODEL=模型\n".encode("gbk"))


def write_utf_16(path: Path) -> None:
    path.write_bytes("PORT=8000\n".encode("utf-16"))


def write_utf_16_without_mark(path: Path) -> None:
    path.write_bytes("PORT=8000\n".encode("utf-16-le"))


@pytest.mark.parametrize(
    ("command", "write", "sentence"),
    [
        ("gunicorn", write_unreadable, ".env cannot be read: Permission denied."),
        ("make serve", write_gbk, ".env is not a text in UTF-8."),
        ("flask", write_utf_16, ".env is not a text in UTF-8."),
        ("gunicorn", write_utf_16_without_mark, ".env is not a text in UTF-8."),
        ("make serve", Path.mkdir, ".env is a folder. It must be a file."),
        ("flask", Path.mkdir, ".env is a folder. It must be a file."),
    ],
)
def test_an_env_file_that_cannot_be_read_is_a_sentence_and_status_2(
    clone: Path, command: str, write: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    """The variable is the one of deploy/route-api.service: the flask command alone would read the file before us."""
    write(clone / ".env")
    done = run(command, tmp_path, clone, FLASK_SKIP_DOTENV="1")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert sentence in done.stderr


def test_a_reload_with_a_wrong_setting_changes_nothing(clone: Path, tmp_path: Path) -> None:
    port = free_port()
    right = "".join(f"{name}={value}\n" for name, value in {**DIFY, "AUTH": "open", "PORT": port, "WORKERS": 1}.items())
    (clone / ".env").write_text(right)
    environment = own_environment(tmp_path, **ENDS_WITH_US)
    log_path = tmp_path / "log"
    with log_path.open("wb") as log:
        gateway = subprocess.Popen(COMMANDS["gunicorn"], cwd=clone, env=environment, stderr=log)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        worker = children_of(gateway.pid)
        (clone / ".env").write_text(right + "API_KEYS=short\n")
        gateway.send_signal(signal.SIGHUP)
        wait_for(lambda: "Not reloaded, the old settings stay in force: API_KEYS is wrong" in log_path.read_text())
        assert children_of(gateway.pid) == worker and answers(f"http://127.0.0.1:{port}/healthz")

        (clone / ".env").write_text(right + "ALLOWED_HOSTS=new.example\n")
        gateway.send_signal(signal.SIGHUP)
        wait_for(lambda: len(children_of(gateway.pid)) == 1 and children_of(gateway.pid) != worker)
        wait_for(lambda: is_let_in(f"http://127.0.0.1:{port}/v1/prompt/list", "new.example"))
    finally:
        gateway.terminate()
        assert gateway.wait(PATIENCE_S) == 0, log_path.read_text()


# ------------------------------------------------------------------ where it listens


@pytest.mark.parametrize(
    ("command", "host", "printed", "reached"),
    [
        ("gunicorn", "::1", "[::1]", ["[::1]"]),
        ("gunicorn", "::", "[::]", ["[::1]", "127.0.0.1"]),
        ("gunicorn", "0.0.0.0", "0.0.0.0", ["127.0.0.1"]),
        ("make serve", "[::1]", "[::1]", ["[::1]"]),
        ("make serve", "::", "[::]", ["[::1]", "127.0.0.1"]),
        ("make serve", "localhost", "127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_the_gateway_listens_where_host_says_and_prints_it(
    tmp_path: Path, command: str, host: str, printed: str, reached: list[str]
) -> None:
    port, log_path = free_port(), tmp_path / "log"
    settings = {**DIFY, "AUTH": "open", "WORKERS": "1", "HOST": host, "PORT": str(port), **ENDS_WITH_US}
    with log_path.open("wb") as log:
        gateway = subprocess.Popen(
            COMMANDS[command], cwd=PROJECT_DIR, env=own_environment(tmp_path, **settings), stderr=log
        )
    try:
        for name in reached:
            wait_for(lambda: answers(f"http://{name}:{port}/v1/prompt/list"))
            assert is_let_in(f"http://{name}:{port}/v1/prompt/list", f"{name}:{port}"), "ALLOWED_HOSTS"
        assert f"http://{printed}:{port}" in log_path.read_text()
    finally:
        gateway.terminate()
        assert gateway.wait(PATIENCE_S) == 0, log_path.read_text()


@pytest.mark.parametrize("command", ["gunicorn", "make serve"])
def test_a_host_that_nobody_knows_is_a_sentence(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path, **DIFY, AUTH="open", HOST="nowhere.invalid", PORT=str(free_port()))
    assert done.returncode in (1, 2) and "nowhere.invalid" in done.stderr, done.stderr
    assert "HOST" in done.stderr and "Traceback" not in done.stderr


# ------------------------------------------------------------------ killed processes


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_let_in(url: str, host: str) -> bool:
    """Whether the gateway answers under this name."""
    with suppress(requests.RequestException):
        return requests.get(url, headers={"Host": host}, timeout=PATIENCE_S).ok
    return False


def session_of(pid: int) -> set[int]:
    """The processes that a process has started, and those that these have started, also after it has ended."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z" and int(session) == pid:
                found.add(int(path.name))
    return found


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A gateway that `make serve` runs, with temporary files in a folder of the test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    gateway = Gateway(tmp_path, command=["make", "--old-file=.venv/serve", "serve"], WORKERS="1")
    ignored_by_nohup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The gateway would ignore it too.
    gateway.start()
    yield gateway
    gateway.stop()
    signal.signal(signal.SIGHUP, ignored_by_nohup)


def test_nothing_is_left_whichever_process_is_killed_and_the_next_start_works(gateway: Gateway, tmp_path: Path) -> None:
    """One gateway after the other ends in another way. The next one has the same port, and starts at once."""
    ways: tuple[Callable[[int], None], ...] = (
        lambda make: os.kill(make, signal.SIGKILL),
        lambda make: os.kill(children_of(make)[0], signal.SIGKILL),
        lambda make: os.killpg(make, signal.SIGHUP),  # The terminal is closed.
        lambda make: os.killpg(make, signal.SIGTERM),
    )
    for end in ways:
        make, folders = gateway.pid, list((tmp_path / "temporary").glob(FOLDER))
        assert len(session_of(make)) == 6, "make, serve, two of the sandbox, gunicorn and its worker"
        assert len(folders) == 1, "those of earlier gateways are gone"
        end(make)
        gateway.start()
        try:
            wait_for(lambda: session_of(make) == set())
        except AssertionError as error:
            raise AssertionError([Path(f"/proc/{pid}/cmdline").read_text() for pid in session_of(make)]) from error
        wait_for(lambda: answers(f"{gateway.base}/healthz"))
        assert gateway.get("kb/list")["code"] == 0


def test_a_second_start_says_that_the_port_is_in_use(tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for command, sentence in (("make serve", f"Port {port} of 127.0.0.1 is in use"), ("gunicorn", "in use")):
            done = run(command, tmp_path, **DIFY, AUTH="open", PORT=str(port))
            assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert list(tmp_path.glob(FOLDER)) == []
