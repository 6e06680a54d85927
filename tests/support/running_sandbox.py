"""A sandbox in this process that answers on loopback."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import make_server

from route_api.sandbox.app import create_sandbox, stop_indexing
from route_api.sandbox.gateway_settings import prepare_gateway_settings

from .patience import PATIENCE_S


@contextmanager
def running_sandbox(data_dir: Path) -> Iterator[dict[str, str]]:
    """Run a sandbox, whose model answers without delays. Yield the settings with which a gateway uses it."""
    settings = prepare_gateway_settings(data_dir)
    app = create_sandbox(data_dir)
    app.config["SANDBOX_WORD_DELAY_S"] = 0.0
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield {"DIFY_BASE_URL": f"http://127.0.0.1:{server.server_port}", **settings}
    server.shutdown()
    thread.join(PATIENCE_S)
    server.server_close()
    stop_indexing(app)
