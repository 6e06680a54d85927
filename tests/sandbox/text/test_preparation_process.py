"""Hostile files: each is an error in words, within the limits of its process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from route_api.sandbox.text import preparation_process
from route_api.sandbox.text.extraction import ExtractionError
from route_api.sandbox.text.preparation import MAX_CHUNKS, Source
from route_api.sandbox.text.preparation_process import PreparationProcess, is_harmless
from route_api.sandbox.text.splitting import Chunk

from ...support.hostile_files import docx_with, endless_pdf, lying_about_sizes
from ...support.running_gateway import PROJECT_DIR, wait_for

RULES: dict[str, Any] = {
    "pre_processing_rules": [
        {"id": "remove_extra_spaces", "enabled": True},
        {"id": "remove_urls_emails", "enabled": True},
    ],
    "segmentation": {"separator": "\n", "max_tokens": 500, "chunk_overlap": 50},
}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(str(tmp_path / "file"), "", "text_model", "custom", RULES, with_keywords=False)


def prepare(source: Source, content: bytes | str, extension: str, **changes: Any) -> list[Chunk]:
    Path(source.path).write_bytes(content.encode() if isinstance(content, str) else content)
    changed = Source(**{**vars(source), "extension": extension, **changes})
    return [chunk for chunk, _ in PreparationProcess(changed).chunks()]


def test_a_good_file_gives_chunks_with_their_words_and_keywords(source: Source) -> None:
    Path(source.path).write_text("<p>葫芦庙</p><p>error</p>")
    process = PreparationProcess(Source(**{**vars(source), "extension": "html", "with_keywords": True}))
    assert list(process.chunks()) == [
        (Chunk("葫芦庙", keywords=("葫芦", "芦庙")), "葫芦 芦庙 庙"),
        (Chunk("error", keywords=("error",)), "error"),
    ]


def test_deeply_nested_html_is_read_in_a_linear_time(source: Source) -> None:
    """With a tree and a walk through it, these 1.5 MB took 100 s."""
    assert prepare(source, f"{'<div>' * 300_000}葫芦庙", "html") == [Chunk("葫芦庙")]


def test_a_file_that_takes_too_long_is_an_error_that_says_so(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation_process, "CPU_S", 1)
    with pytest.raises(ExtractionError, match="more than 1 seconds to read"):
        prepare(source, endless_pdf(), "pdf")


def test_a_process_that_waits_too_long_is_an_error_that_says_so(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation_process, "WALL_S", 1)
    os.mkfifo(source.path)  # Nobody writes into this pipe, so that reading it takes no CPU time and has no end.
    waiting = Source(**{**vars(source), "extension": "txt"})
    with pytest.raises(ExtractionError, match="more than 1 seconds to read"):
        list(PreparationProcess(waiting).chunks())


def test_a_file_that_needs_too_much_memory_is_an_error_that_says_so(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation_process, "MEMORY_BYTES", 512 * 1024**2)
    with pytest.raises(ExtractionError, match="more than 512 MB of memory"):
        prepare(source, f"{'a' * 100_000}\n" + "x\n" * 10_000, "csv")


def test_a_parser_that_crashes_is_an_error_that_says_so(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """pdfium ends its process with a signal when it gets no more memory."""
    monkeypatch.setattr(preparation_process, "MEMORY_BYTES", 256 * 1024**2)
    with pytest.raises(ExtractionError, match="that reads .pdf files crashed at this file, or needed over 256 MB"):
        prepare(source, endless_pdf(), "pdf")


def test_an_archive_that_unpacks_to_too_much_is_refused(source: Source) -> None:
    bomb = docx_with("", large=bytes(201_000_000))
    assert len(bomb) < 1_000_000
    with pytest.raises(ExtractionError, match="unpacked it has 201 MB; the sandbox takes 200 MB"):
        prepare(source, bomb, "docx")


def test_an_archive_that_lies_about_its_sizes_is_refused(source: Source) -> None:
    with pytest.raises(ExtractionError, match="The DOCX file cannot be read"):
        prepare(source, lying_about_sizes(docx_with("<w:p/>" * 2_000_000)), "docx")


def test_a_docx_with_xml_that_is_nested_too_deeply_is_refused(source: Source) -> None:
    with pytest.raises(ExtractionError, match="nested too deeply"):
        prepare(source, docx_with("<w:tbl><w:tr><w:tc>" * 300 + "</w:tc></w:tr></w:tbl>" * 300), "docx")


def test_a_table_with_many_merged_rows_is_read(source: Source) -> None:
    """A reader that looks for the first cell of a merged column in each row takes a time that grows with the square."""
    restart = "<w:tc><w:tcPr><w:vMerge w:val='restart'/></w:tcPr><w:p><w:r><w:t>葫芦庙</w:t></w:r></w:p></w:tc>"
    continued = "<w:tc><w:tcPr><w:vMerge/></w:tcPr><w:p/></w:tc>"
    other = "<w:tc><w:p><w:r><w:t>仁清巷</w:t></w:r></w:p></w:tc>"
    rows = f"<w:tr>{restart}{other}</w:tr>" + f"<w:tr>{continued}{other}</w:tr>" * 1500
    chunks = prepare(source, docx_with(f"<w:tbl>{rows}</w:tbl>"), "docx")
    assert sum(chunk.content.count("葫芦庙 | 仁清巷 |") for chunk in chunks) == 1501 + len(chunks) - 1


MANY = 250_000


@pytest.mark.parametrize(
    ("content", "changes"),
    [
        ("a" * MANY, {}),
        ("a@" * MANY, {}),
        ("a@b" + ".b" * MANY, {}),
        (" " * MANY + "a", {}),
        ("\n" * MANY + "a", {"doc_form": "qa_model"}),
        ("```a\n" * (MAX_CHUNKS - 1), {}),
        ("|\n" * MANY, {}),
        ("# a\n" * (MAX_CHUNKS - 1), {}),
        ("\nq:" * MANY, {"doc_form": "qa_model"}),
        ("a" + "\u0301\u0323" * MANY, {}),
        ("。" * MANY, {"doc_form": "hierarchical_model", "mode": "hierarchical"}),
    ],
    ids=lambda value: ascii(value)[:12],
)
def test_splitting_and_tokens_take_a_linear_time(
    source: Source, monkeypatch: pytest.MonkeyPatch, content: str, changes: dict[str, Any]
) -> None:
    """Each of these took minutes: some pattern read the rest of the text again for each character."""
    monkeypatch.setattr(preparation_process, "CPU_S", 10)
    prepare(source, content, "txt", **changes)


def test_a_document_of_too_many_chunks_is_refused(source: Source) -> None:
    with pytest.raises(ExtractionError, match=f"has {MAX_CHUNKS + 1} chunks; the sandbox takes {MAX_CHUNKS}"):
        prepare(source, "a\n" * (MAX_CHUNKS + 1), "txt")


@pytest.mark.parametrize(
    ("content", "extension", "harmless"),
    [
        (b"x" * 65536, "md", True),
        (b"x" * 65537, "md", False),
        ("葫芦庙".encode("gbk"), "txt", False),
        (b"<p>", "html", False),
    ],
)
def test_only_a_small_text_in_utf_8_needs_no_process(
    tmp_path: Path, content: bytes, extension: str, harmless: bool
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert is_harmless(tmp_path / "file", extension) is harmless


STARTS_AND_WAITS = """
import sys, threading, time
from route_api.sandbox.text.preparation import Source
from route_api.sandbox.text.preparation_process import PreparationProcess
process = PreparationProcess(Source(sys.argv[1], "pdf", "text_model", "automatic", {}, False))
print(process._process.pid, flush=True)
threading.Thread(target=lambda: list(process.chunks()), daemon=True).start()
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_the_process_ends_with_a_parent_that_is_killed(source: Source) -> None:
    Path(source.path).write_bytes(endless_pdf())
    command = [sys.executable, "-c", STARTS_AND_WAITS, source.path]
    with subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: used_ticks(child) > 20)
        parent.send_signal(signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: not Path(f"/proc/{child}").exists() or state(child) == "Z")
    assert time.monotonic() - began < preparation_process.CPU_S


def state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def used_ticks(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11])
