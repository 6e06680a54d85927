"""Answers that the database refuses, kept as files so that nothing is lost.

A database may refuse a text, for example PostgreSQL one with U+0000. No repetition helps then. So the answer is written
to a file that an operator finds, and the message's row is completed without it.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from ..monitoring import metrics
from .models import utc_now

log = logging.getLogger(__name__)

FOLDER_MODE = 0o700
FILE_MODE = 0o600
"""The files have texts of users, so only the gateway's own user may read them."""


class DeadLetters:
    """The folder of the setting DEAD_LETTERS_DIR. It is created with the first file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, message_id: str, refusal: Exception, content: dict[str, Any]) -> None:
        """Write the file `<message_id>.json`, whole or not at all. It replaces an earlier file of the same message.

        :param message_id: 32 hex digits
        :param refusal: the error of the database
        :param content: what the database has refused
        :raises OSError: the file cannot be written
        """
        path = self._path(message_id)
        is_new = not path.exists()
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        letter = {"message_id": message_id, "refused_at": f"{utc_now().isoformat()}Z", "error": str(refusal), **content}
        temporary = path.with_suffix(".part")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "w", encoding="ascii") as file:
            json.dump(letter, file, indent=1)  # Unlike orjson, this also writes lone surrogates: as escapes.
        os.replace(temporary, path)
        if is_new:
            metrics.dead_letters.inc()
            kind = type(getattr(refusal, "orig", None) or refusal).__name__
            log.error("the database refuses the answer %s (%s): the whole answer is kept in %s", message_id, kind, path)

    def discard(self, message_id: str) -> None:
        """Delete the file of a message that the database has accepted after all."""
        self._path(message_id).unlink(missing_ok=True)

    def _path(self, message_id: str) -> Path:
        return self._folder / f"{message_id}.json"
