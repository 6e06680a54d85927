"""Prepares a file in a process of its own, so that a hostile file can stop no other file and no request."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from .extraction import ExtractionError
from .preparation import Source
from .splitting import Chunk

CPU_S = 30
"""The CPU time that one file may take, in seconds. 15 MB of plain text take about 3."""
WALL_S = 120
"""The time that one file may take on a machine that is busy with other things, in seconds."""
MEMORY_BYTES = 1024**3
"""The address space of the process."""
SMALL_BYTES = 64 * 1024
PLAIN_EXTENSIONS = frozenset(("txt", "md", "markdown", "mdx"))
PROJECT_DIR = Path(__file__).parents[3]


def is_harmless(path: Path, extension: str) -> bool:
    """Return whether a file is a small plain text in UTF-8. It needs no process: no parser reads it.

    :raises FileNotFoundError: if the file is gone
    """
    if extension not in PLAIN_EXTENSIONS or path.stat().st_size > SMALL_BYTES:
        return False
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class PreparationProcess:
    """A process that prepares one file."""

    def __init__(self, source: Source) -> None:
        self._extension = source.extension
        limits = {"parent": os.getpid(), "cpu_s": CPU_S, "wall_s": WALL_S, "memory_bytes": MEMORY_BYTES}
        with tempfile.TemporaryFile("w+") as request:
            json.dump({"limits": limits, "source": asdict(source)}, request)
            request.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "route_api.sandbox.text.preparation"],
                cwd=PROJECT_DIR,
                stdin=request,
                stdout=subprocess.PIPE,
                process_group=0,  # Ctrl-C in a terminal goes to the sandbox, and not to this process, too.
            )

    def chunks(self) -> Iterator[tuple[Chunk, str]]:
        """Yield the chunks with their words, as `preparation.prepare` does.

        :raises ExtractionError: if the document cannot be prepared, or if the process has reached a limit or crashed
        """
        assert self._process.stdout is not None
        with self._process:
            try:
                for line in self._process.stdout:
                    answer = json.loads(line)
                    if isinstance(answer, dict):
                        raise ExtractionError(answer["error"])
                    content, reply, children, keywords, words = answer
                    yield Chunk(content, reply, tuple(children), keywords and tuple(keywords)), words
                status = self._process.wait()
            finally:
                self._process.kill()
        if status:
            raise ExtractionError(self._reason(status))

    def _reason(self, status: int) -> str:
        if -status in (signal.SIGXCPU, signal.SIGALRM):
            return f"The file takes more than {CPU_S if -status == signal.SIGXCPU else WALL_S} seconds to read."
        if status < 0:
            memory_mb = MEMORY_BYTES // 1024**2
            return (
                f"The program that reads .{self._extension} files crashed at this file, or needed over {memory_mb} MB."
            )
        return "The document could not be indexed because of an internal error."  # It is on the standard error.

    def kill(self) -> None:
        """End the process. `chunks` then raises `ExtractionError`."""
        self._process.kill()
