"""Turns a file into chunks with their search tokens. Also the program that does it in a process with limits.

`preparation_process` starts the program: a file's parser can take long, need much memory, or crash.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .extraction import ExtractionError, extract_text
from .search_tokens import index_words, keywords_of
from .splitting import Chunk, SplittingError, split_document

MAX_CHUNKS = 100_000
"""The most chunks of one document. Each chunk is a row of a table, and millions of rows would occupy the indexer for
minutes."""
PR_SET_PDEATHSIG = 1
"""An option of Linux's `prctl`: the signal that this process gets when its parent ends, also by SIGKILL."""


@dataclass(frozen=True)
class Source:
    """A file, and the rules by which it becomes chunks.

    :param path: the path of the file
    :param extension: one of `extraction.EXTENSIONS`
    :param doc_form: see `split_document`
    :param mode: see `split_document`
    :param rules: see `split_document`
    :param with_keywords: whether the chunks get keywords, as in an economy dataset
    """

    path: str
    extension: str
    doc_form: str
    mode: str
    rules: dict[str, Any]
    with_keywords: bool


def prepare(source: Source) -> Iterator[tuple[Chunk, str]]:
    """Read and split a file. Yield each chunk with its `index_words`.

    :raises ExtractionError: if the file cannot be read
    :raises SplittingError: if the rules cannot be carried out, or the file has more than `MAX_CHUNKS` chunks
    """
    text = extract_text(Path(source.path), source.extension)
    chunks = split_document(text, source.doc_form, source.mode, source.rules)
    if len(chunks) > MAX_CHUNKS:
        raise SplittingError(f"The document has {len(chunks)} chunks; the sandbox takes {MAX_CHUNKS} at the most.")
    for chunk in chunks:
        if source.with_keywords:
            chunk = replace(chunk, keywords=keywords_of(chunk.content))
        yield chunk, index_words(chunk.text)


def limit_this_process(parent: int, cpu_s: int, wall_s: int, memory_bytes: int) -> None:
    """Let the kernel end this process when it has used the given time, and refuse it more memory than given.

    On Linux it also ends with its parent. Without this, it would end when it has used its time.

    :param parent: the id of the process that started this one
    """
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    signal.alarm(wall_s)
    with suppress(ValueError, OSError):  # macOS does not have this limit.
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("The process that wanted the text has ended.")


def main() -> None:
    """Read limits and a source as JSON from the standard input, and write each chunk as a line of JSON.

    If the document cannot be prepared, the last line is an object with the key `error`.
    """
    request = json.load(sys.stdin)
    limit_this_process(**request["limits"])
    try:
        for chunk, words in prepare(Source(**request["source"])):
            print(json.dumps([chunk.content, chunk.answer, chunk.children, chunk.keywords, words]))
    except FileNotFoundError:
        print(json.dumps({"error": "The uploaded file is gone."}))
    except (ExtractionError, SplittingError) as error:
        print(json.dumps({"error": str(error)}))
    except MemoryError:
        memory_mb = request["limits"]["memory_bytes"] // 1024**2
        print(json.dumps({"error": f"The file takes more than {memory_mb} MB of memory to read."}))


if __name__ == "__main__":
    main()
