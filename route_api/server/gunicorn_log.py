"""gunicorn's own log lines, in the form of our log.

The workers' lines go through `monitoring/logs.py` as soon as the application is loaded. gunicorn's master never loads
it: the application must be imported after a gevent worker has patched the standard library.
"""

import logging
from typing import Any

from gunicorn.glogging import Logger
from pythonjsonlogger.orjson import OrjsonFormatter


class JsonLog(Logger):
    """A JSON object in each line, for LOG_FORMAT=json."""

    def setup(self, cfg: Any) -> None:
        """gunicorn calls this at the start, and again when it reads its configuration anew."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(self.formatter())

    @staticmethod
    def formatter() -> logging.Formatter:
        columns = ("time", "levelname", "name", "request_id", "message")
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        return OrjsonFormatter(columns, rename_fields=names, timestamp="time", static_fields={"request_id": "-"})


class TextLog(JsonLog):
    """Lines for people, for LOG_FORMAT=text."""

    @staticmethod
    def formatter() -> logging.Formatter:
        return logging.Formatter("%(asctime)s %(levelname)s %(name)s [-] %(message)s")
