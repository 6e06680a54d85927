"""A newly installed Dify: the sandbox on loopback, with an account and nothing else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Response, request
from flask.json import dumps
from werkzeug.serving import make_server

from route_api.dify import Dify
from route_api.sandbox.access.account_table import create_account
from route_api.sandbox.app import create_sandbox
from route_api.sandbox.store import current_store
from route_api.sandbox.version import DEFAULT_VERSION

from .dify_client import dify_client
from .patience import PATIENCE_S
from .sandbox_console import SandboxConsole

EMAIL, PASSWORD = "admin@example.com", "Secret123 ${HOME}'#"


class FreshDify:
    """Its address, and a client with the login. `calls` lists its requests, such as `GET /v1/info`."""

    def __init__(self, url: str, calls: list[str]) -> None:
        self.url = url
        self.calls = calls

    def client(self, settings: dict[str, str] | None = None) -> Dify:
        """A client with the keys in these settings and with the login."""
        known = settings or {}
        return dify_client(
            self.url,
            dataset_api_key=known.get("DIFY_DATASET_API_KEY", ""),
            app_api_key=known.get("DIFY_APP_API_KEY", ""),
            console_email=EMAIL,
            console_password=PASSWORD,
        )

    def changes(self) -> list[str]:
        """The calls that create or change something, without logins."""
        reading = ("GET ", "POST /console/api/login", "POST /console/api/refresh-token")
        return [call for call in self.calls if not call.startswith(reading)]

    def apps(self) -> list[dict[str, Any]]:
        """All apps, newest first."""
        console = SandboxConsole(self.url, EMAIL, PASSWORD)
        return [console.get(f"/apps/{app['id']}") for app in console.get("/apps?limit=100")["data"]]

    def switch_off_service_api(self) -> None:
        """Switch off the service API of the only app."""
        [app] = self.apps()
        console = SandboxConsole(self.url, EMAIL, PASSWORD)
        console.post(f"/apps/{app['id']}/api-enable", {"enable_api": False})


def mask_keys(answer: Response) -> Response:
    """Mask the keys of a list as Dify 1.17 and later do. This was read in Dify's code, not recorded."""
    if request.method == "GET" and request.path.endswith("/api-keys") and answer.status_code == 200:
        keys = answer.get_json()["data"]
        answer.set_data(dumps({"data": [{**key, "token": f"{key['token'][:5]}…{key['token'][-4:]}"} for key in keys]}))
    return answer


@contextmanager
def fresh_dify(data_dir: Path, *, with_account: bool = True, masks_keys: bool = False) -> Iterator[FreshDify]:
    """Start a new Dify, and stop it at the end of the block.

    :param masks_keys: whether it is a later Dify, 1.16.1 but for its lists, which show no key in full
    """
    sandbox = create_sandbox(data_dir, version="1.16.1" if masks_keys else DEFAULT_VERSION)
    if masks_keys:
        sandbox.after_request(mask_keys)
    calls: list[str] = []
    if with_account:
        with sandbox.app_context():
            create_account(current_store(), EMAIL, "admin", PASSWORD)

    @sandbox.before_request
    def remember() -> None:
        calls.append(f"{request.method} {request.path}")

    server = make_server("127.0.0.1", 0, sandbox, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield FreshDify(f"http://127.0.0.1:{server.server_port}", calls)
    finally:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()
