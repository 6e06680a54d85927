import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import config
from config import Config, ConfigError

from .support.settings import KEYS


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of whoever runs the tests, and a project folder whose `.env` is the test's own."""
    for entry in fields(Config):
        monkeypatch.delenv(entry.name, raising=False)
    monkeypatch.setattr(config, "PROJECT_DIR", tmp_path)
    return tmp_path


def set_all(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_without_any_setting_there_is_a_sandbox() -> None:
    settings = Config.load()
    assert (settings.DIFY_BASE_URL, settings.PORT, settings.AUTH) == ("", 8000, "")
    assert settings.database_uri.startswith("sqlite:///")


def test_settings_are_read_with_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        **KEYS,
        DIFY_APPS="small=app-1,qwen3:4b=app-2",
        CORS_ORIGINS="http://a.test,http://b.test",
        DOWNLOAD_ROOT="/srv/downloads",
        ERROR_HTTP_STATUS="200",
        DIFY_READ_TIMEOUT="2.5",
    )
    settings = Config.load()
    assert settings.DIFY_APPS == {"small": "app-1", "qwen3:4b": "app-2"}
    assert settings.CORS_ORIGINS == ["http://a.test", "http://b.test"]
    assert (settings.DOWNLOAD_ROOT, settings.ERROR_HTTP_STATUS) == (Path("/srv/downloads"), 200)
    assert settings.DIFY_READ_TIMEOUT == 2.5


def test_an_empty_setting_is_one_that_was_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, **{entry.name: "" for entry in fields(Config)})
    assert Config.load() == Config()


def test_a_dotenv_file_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    (clean_environment / ".env").write_text("PORT=9001\nLOG_LEVEL=DEBUG\n")
    monkeypatch.setenv("PORT", "9002")
    settings = Config.load()
    assert (settings.PORT, settings.LOG_LEVEL) == (9002, "DEBUG")


WRONG = {
    "PORT": "http",
    "DIFY_BASE_URL": "dify.test",
    "ERROR_HTTP_STATUS": "500",
    "AUTH": "closed",
    "LOG_LEVEL": "LOUD",
    "DIFY_READ_TIMEOUT": "soon",
    "DIFY_APPS": "no key",
}


def test_all_wrong_settings_are_told_at_once_each_in_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, **WRONG)
    with pytest.raises(ConfigError) as raised:
        Config.load()
    lines = str(raised.value).split("\n")
    assert {line.split(" ")[0] for line in lines} == set(WRONG)
    assert all(re.fullmatch(r"[A-Z_]+ is wrong: .{8,}", line) for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIFY_BASE_URL", "http://dify.test/v1"),
        ("DIFY_BASE_URL", "http://dify.test/v1/"),
        ("DIFY_BASE_URL", "ftp://dify.test"),
        ("DIFY_BASE_URL", "http://"),
        ("DIFY_FILES_URL", "files"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("WORKERS", "0"),
        ("DIFY_CONNECT_TIMEOUT", "0"),
        ("DIFY_CHAT_TIMEOUT", "10"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    set_all(monkeypatch, **{name: value})
    with pytest.raises(ConfigError, match=f"^{name} is wrong: "):
        Config.load()


def test_a_dify_without_keys_is_refused_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, DIFY_BASE_URL="http://dify.test", AUTH="open")
    missing = "\n".join(Config.load().missing_to_serve())
    assert re.findall(r"^(\w+) is missing", missing, re.M) == ["DIFY_DATASET_API_KEY", "DIFY_APP_API_KEY"]


@pytest.mark.parametrize("alone", ["DIFY_CONSOLE_EMAIL", "DIFY_CONSOLE_PASSWORD"])
def test_half_a_console_login_is_not_enough_to_serve(monkeypatch: pytest.MonkeyPatch, alone: str) -> None:
    set_all(monkeypatch, **KEYS, AUTH="open", **{alone: "x"})
    [missing] = Config.load().missing_to_serve()
    assert alone in missing and "set both or neither" in missing


@pytest.mark.parametrize("alone", ["DIFY_EMBEDDING_MODEL", "DIFY_EMBEDDING_PROVIDER"])
def test_settings_that_go_together_are_refused_alone(monkeypatch: pytest.MonkeyPatch, alone: str) -> None:
    set_all(monkeypatch, **{alone: "x"})
    with pytest.raises(ConfigError, match=f"{alone}.*set both or neither"):
        Config.load()


def test_an_embedding_server_needs_the_name_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, SANDBOX_EMBEDDING_URL="http://127.0.0.1:11434/v1", SANDBOX_EMBEDDING_MODEL="")
    with pytest.raises(ConfigError, match="SANDBOX_EMBEDDING_URL needs the name of a model"):
        Config.load()


def test_no_secret_is_in_the_repr() -> None:
    secrets: dict[str, Any] = {
        entry.name: (
            {"model": "hush-apps"}
            if entry.name == "DIFY_APPS"
            else [f"hush-{entry.name}"] if entry.name == "API_KEYS" else f"hush-{entry.name}"
        )
        for entry in fields(Config)
        if entry.metadata["secret"]
    }
    assert secrets.keys() >= {"DIFY_DATASET_API_KEY", "DIFY_APP_API_KEY", "DIFY_APPS", "DIFY_CONSOLE_PASSWORD"}
    assert secrets.keys() >= {"SECRET_KEY", "API_KEYS", "DATABASE_URL"}
    shown = repr(Config(**secrets))
    assert "hush" not in shown and "DIFY_BASE_URL" in shown


def test_every_name_that_sounds_like_a_secret_is_one() -> None:
    sounding = {entry.name for entry in fields(Config) if re.search("KEY|PASSWORD|SECRET|TOKEN|APPS", entry.name)}
    assert sounding <= {entry.name for entry in fields(Config) if entry.metadata["secret"]}


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("sqlite:////var/a.sqlite3", "sqlite:////var/a.sqlite3"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h:5432/d", "postgresql+psycopg://u:p@h:5432/d"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("mysql://u:p@h/d", "mysql+pymysql://u:p@h/d?charset=utf8mb4"),
        ("mariadb://u@h/d?ssl=1", "mysql+pymysql://u@h/d?ssl=1&charset=utf8mb4"),
        ("mysql://h/d?charset=latin1", "mysql+pymysql://h/d?charset=latin1"),
    ],
)
def test_a_database_url_gets_the_driver_that_we_ship(given: str, uri: str) -> None:
    assert Config.load(DATABASE_URL=given).database_uri == uri


def test_a_read_setting_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().PORT = 1  # type: ignore[misc]


def test_an_app_name_that_no_conversation_could_remember_is_refused() -> None:
    with pytest.raises(ConfigError, match="DIFY_APPS"):
        Config.load(**KEYS, DIFY_APPS={"x" * 51: "app-key"})


def test_an_app_id_needs_its_app() -> None:
    app_id = "750afc07-7e0e-4e5f-9e09-7d0ec407553a"
    assert Config.load(**KEYS, DIFY_APP_IDS={"default": app_id}).DIFY_APP_IDS
    with pytest.raises(ConfigError, match="'my-app' is no id of an app"):
        Config.load(**KEYS, DIFY_APP_IDS={"default": "my-app"})
    with pytest.raises(ConfigError, match="DIFY_APP_IDS: small is not in DIFY_APPS"):
        Config.load(**KEYS, DIFY_APP_IDS={"small": app_id})


@pytest.mark.parametrize(
    "origins", ["https://app.example.com/", "app.example.com", "https://*.example.com", "*,nonsense"]
)
def test_an_origin_that_no_browser_sends_is_refused(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    set_all(monkeypatch, CORS_ORIGINS=origins)
    with pytest.raises(ConfigError, match="CORS_ORIGINS is wrong: must be origins such as"):
        Config.load()


@pytest.mark.parametrize(("name", "value"), [("API_KEYS", "a-long-enough-key-is-ok,short"), ("SECRET_KEY", "short")])
def test_a_key_that_could_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    set_all(monkeypatch, **{name: value})
    with pytest.raises(ConfigError, match=f"{name} is wrong: must have 16 characters or more") as refused:
        Config.load()
    assert "short" not in str(refused.value)


def test_what_is_missing_to_serve_is_said_with_the_way_to_mend_it() -> None:
    nothing = Config.load(PORT=8000).missing_to_serve()
    assert "DIFY_BASE_URL" in nothing[0] and "make serve" in nothing[0]
    assert "API_KEYS" in nothing[1] and "AUTH=open" in nothing[1]
    assert len(Config.load(**KEYS).missing_to_serve()) == 1
    assert Config.load(**KEYS, API_KEYS=["x" * 16]).missing_to_serve() == []
    assert Config.load(**KEYS, AUTH="open").missing_to_serve() == []


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({}, 1800),
        ({"DIFY_MAX_CALLS": 7}, 7),
        ({"WORKER_CLASS": "gthread"}, 450),
        ({"WORKER_CLASS": "gthread", "THREADS": 9}, 8),
        ({"WORKER_CLASS": "gthread", "THREADS": 1}, 1),
        ({"WORKER_CLASS": "gthread", "DIFY_MAX_CALLS": 7}, 7),
    ],
)
def test_a_gthread_worker_keeps_a_tenth_of_its_threads_free_of_calls_to_dify(
    settings: dict[str, Any], calls: int
) -> None:
    assert Config.load(DIFY_BASE_URL="http://dify.example.com", **settings).max_dify_calls == calls


@pytest.mark.parametrize(
    ("charset", "is_right"), [("utf8mb4", True), ("UTF8MB4", True), ("utf8", False), ("gbk", False)]
)
def test_a_charset_that_lacks_characters_is_refused(
    monkeypatch: pytest.MonkeyPatch, charset: str, is_right: bool
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"mysql://root:hush@127.0.0.1/name?charset={charset}")
    if is_right:
        assert Config.load().database_uri.count("charset=") == 1
        return
    with pytest.raises(ConfigError, match=f"DATABASE_URL is wrong: has charset={charset}, which lacks") as refused:
        Config.load()
    assert "hush" not in str(refused.value)


# ------------------------------------------------------------------ HOST


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("::", "::"),
        ("localhost", "localhost"),
        ("gateway-1.example.com", "gateway-1.example.com"),
    ],
)
def test_the_host_may_be_an_address_or_a_name(monkeypatch: pytest.MonkeyPatch, given: str, host: str) -> None:
    monkeypatch.setenv("HOST", given)
    assert Config.load().HOST == host


@pytest.mark.parametrize(
    "wrong", ["http://localhost", "localhost:8000", "[::1]:8000", "*", "1.2.3", "a b", "256.1.1.1"]
)
def test_a_host_that_is_neither_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("HOST", wrong)
    with pytest.raises(ConfigError, match="HOST is wrong: must be an IP address such as 127.0.0.1 or ::1, or a name"):
        Config.load()


# ------------------------------------------------------------------ .env


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["", "byte order mark"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_an_env_file_is_read_however_an_editor_writes_it(tmp_path: Path, start: bytes, line_end: bytes) -> None:
    lines = [
        "DIFY_BASE_URL=http://dify.test",
        "export SANDBOX_LLM_MODEL='模型 1'",
        "PORT=8123  ",
        'HOST="::1" # note',
        "",
    ]
    (tmp_path / ".env").write_bytes(start + line_end.join(line.encode() for line in lines))
    config = Config.load()
    assert (config.DIFY_BASE_URL, config.SANDBOX_LLM_MODEL) == ("http://dify.test", "模型 1")
    assert (config.PORT, config.HOST) == (8123, "::1")
