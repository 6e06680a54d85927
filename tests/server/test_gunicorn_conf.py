"""gunicorn's configuration and hooks."""

import gc
import runpy
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import KNOWN_SETTINGS
from gunicorn.util import load_class

from config import PROJECT_DIR
from route_api.server import hooks


def configuration(monkeypatch: pytest.MonkeyPatch, **settings: str) -> dict[str, Any]:
    """gunicorn.conf.py with these settings in the environment."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(PROJECT_DIR / "gunicorn.conf.py"))


@pytest.mark.parametrize("worker_class", ["gevent", "gthread"])
def test_the_setting_chooses_the_worker(monkeypatch: pytest.MonkeyPatch, worker_class: str) -> None:
    conf = configuration(monkeypatch, WORKER_CLASS=worker_class, THREADS="7")
    assert conf["threads"] == (7 if worker_class == "gthread" else 1)
    assert worker_class in str(load_class(conf["worker_class"]).__mro__)


def test_gunicorn_takes_every_name_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = configuration(monkeypatch)
    known = {setting.name for setting in KNOWN_SETTINGS}
    own = {name for name in conf if not name.startswith("__")} - {
        "load_settings",
        "settings",
        "address_to_bind",
        "LONGEST_REQUEST_LINE",
    }
    assert own <= known


def test_the_form_of_the_log_is_chosen_by_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration(monkeypatch, LOG_FORMAT="text")["logger_class"].endswith(".TextLog")
    assert configuration(monkeypatch, LOG_FORMAT="json")["logger_class"].endswith(".JsonLog")


def test_a_worker_that_is_ready_is_not_looked_through_for_garbage() -> None:
    try:
        hooks.post_worker_init(
            SimpleNamespace(wsgi=SimpleNamespace(config={"CORS_ORIGINS": [], "DEFAULT_LANGUAGE": "en"}))
        )
        assert gc.get_freeze_count() > 10_000 and len(gc.get_objects()) < 1_000
    finally:
        gc.unfreeze()
