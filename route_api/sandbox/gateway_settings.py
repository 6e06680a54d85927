"""The settings with which the gateway uses the sandbox: the first start creates them, each later start reads them."""

import json
import os
import secrets
from pathlib import Path

from werkzeug.security import check_password_hash

from .access.account_table import create_account, find_account, set_password
from .access.api_key_table import KeyType, create_key, list_keys
from .app import create_sandbox
from .apps.app_config import fresh_config, saved_config
from .apps.app_table import config_of, create_app, find_app, save_config
from .model.available_models import default_model
from .store import Store, current_store

EMAIL = "sandbox@route-api.example"
APP_NAME = "Route API sandbox"
CREDENTIALS_FILE = "credentials.json"
"""This file keeps the password, of which the database has only a hash, and the app's id. Its mode is 0600."""
VARIABLES = ("instructions", "context", "history")


def prepare_gateway_settings(data_dir: Path, *, llm_url: str = "", llm_model: str = "") -> dict[str, str]:
    """Create the account, the dataset key, the chat app and the app's key, where they are missing.

    Each call returns the same values. It also sets the app's model to the default model, so that a language model which
    is configured after the first start answers, too.

    :returns: DIFY_DATASET_API_KEY, DIFY_APP_API_KEY, DIFY_CONSOLE_EMAIL, DIFY_CONSOLE_PASSWORD
    """
    with create_sandbox(data_dir, llm_url=llm_url, llm_model=llm_model).app_context():
        store = current_store()
        path = data_dir / CREDENTIALS_FILE
        known = json.loads(path.read_text()) if path.exists() else {}
        password = known.get("password") or f"{secrets.token_urlsafe(18)}-1a"  # Dify requires a letter and a digit
        email, account_id = _account(store, password)
        app_id = _app(store, account_id, known.get("app_id", ""))
        if known != (credentials := {"password": password, "app_id": app_id}):
            _write_private(path, json.dumps(credentials))
        return {
            "DIFY_DATASET_API_KEY": _key(store, "dataset", None),
            "DIFY_APP_API_KEY": _key(store, "app", app_id),
            "DIFY_CONSOLE_EMAIL": email,
            "DIFY_CONSOLE_PASSWORD": password,
        }


def _account(store: Store, password: str) -> tuple[str, str]:
    """Create the account, or set its password; return its e-mail and its id."""
    if find_account(store) is None:
        create_account(store, EMAIL, "sandbox", password)
    account = find_account(store)
    if account is None:
        raise RuntimeError("the account was created and cannot be found")
    if not check_password_hash(account["password_hash"], password):
        set_password(store, password)
    return account["email"], account["id"]


def _app(store: Store, account_id: str, known_id: str) -> str:
    """Create the app, or set its model to the default model; return its id."""
    model = default_model("llm")
    app = find_app(store, known_id)
    if app is None:
        form = [{"paragraph": {"label": name, "variable": name, "required": False}} for name in VARIABLES]
        config = fresh_config(model) | {
            "pre_prompt": "\n".join(f"{{{{{name}}}}}" for name in VARIABLES),
            "user_input_form": form,
            "suggested_questions_after_answer": {"enabled": True},
        }
        return create_app(store, account_id, saved_config(config), name=APP_NAME)
    config = config_of(app)
    if model is not None and config["model"]["name"] != model.name:
        save_config(store, known_id, config | {"model": config["model"] | {"name": model.name}})
    return known_id


def _key(store: Store, key_type: KeyType, app_id: str | None) -> str:
    """Return the oldest key of this type; create one if there is none. A key that is created later changes nothing."""
    keys = list_keys(store, key_type, app_id)
    return (keys[-1] if keys else create_key(store, key_type, app_id))["token"]


def _write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600.

    It has this mode from its creation on, so that no other user can read it meanwhile.
    """
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
