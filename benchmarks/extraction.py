"""Compares libraries that extract text from files: what each reads, its size, the time of its import, and its licence.

    python -m venv /tmp/extraction
    /tmp/extraction/bin/pip install -r requirements-dev.txt kreuzberg 'markitdown[docx,xlsx,pptx,pdf]' trafilatura …
    /tmp/extraction/bin/python benchmarks/extraction.py

Each library reads the small files of `tests/support/samples`, and its text is compared with what a reader of the file
sees. A cell of the table is the number of files without a complaint; `--complaints` prints the others. Libraries that
are not installed are named and left out.
"""

import argparse
import importlib
import logging
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.samples import SAMPLES, complaints  # noqa: E402

COLUMNS = ("docx", "html", "csv", "xlsx", "pptx", "pdf", "txt")
OWN = "Route API"
OWN_PACKAGES = ("pypdfium2", "office-oxide", "lxml", "charset-normalizer")


@dataclass(frozen=True)
class Library:
    """A library.

    :param package: the name with which it is installed
    :param module: the module that is imported
    :param extensions: what it is meant to read
    :param read: makes a text of a module and the path of a file
    """

    package: str
    module: str
    extensions: str
    read: Callable[[Any, str], str]


def _docx2python(module: Any, path: str) -> str:
    with module.docx2python(path) as document:
        return str(document.text)


def _pdfplumber(module: Any, path: str) -> str:
    with module.open(path) as pdf:
        return "\n\n".join(page.extract_text() for page in pdf.pages)


def _clevercsv(module: Any, path: str) -> str:
    return "\n\n".join(";".join(f"{key}: {value}" for key, value in row.items()) for row in module.read_dicts(path))


def _rows(rows: Any) -> str:
    return "\n".join(f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |" for row in rows)


def _calamine(module: Any, path: str) -> str:
    book = module.CalamineWorkbook.from_path(path)
    return "\n\n".join(f"{name}\n{_rows(book.get_sheet_by_name(name).to_python())}" for name in book.sheet_names)


def _openpyxl(module: Any, path: str) -> str:
    book = module.load_workbook(path, data_only=True)
    return "\n\n".join(f"{sheet.title}\n{_rows(sheet.values)}" for sheet in book)


def _pdf_oxide(module: Any, path: str) -> str:
    document = module.PdfDocument(path)
    return "\n\n".join(document.to_markdown(number) for number in range(document.page_count()))


def _html_to_markdown(module: Any, path: str) -> str:
    converted = module.convert(Path(path).read_text(errors="replace"))
    return str(getattr(converted, "content", converted))


LIBRARIES = (
    Library(
        "kreuzberg", "kreuzberg", "docx html csv xlsx pptx pdf txt", lambda it, path: it.extract_file_sync(path).content
    ),
    Library(
        "markitdown",
        "markitdown",
        "docx html csv xlsx pptx pdf txt",
        lambda it, path: it.MarkItDown().convert(path).markdown,
    ),
    Library("office-oxide", "office_oxide", "docx xlsx pptx", lambda it, path: it.Document.open(path).to_markdown()),
    Library("undoc", "undoc", "docx xlsx pptx", lambda it, path: it.parse_file(path).to_markdown()),
    Library("docx2python", "docx2python", "docx", _docx2python),
    Library("docx2txt", "docx2txt", "docx", lambda it, path: it.process(path)),
    Library("mammoth", "mammoth", "docx", lambda it, path: it.extract_raw_text(path).value),
    Library("python-calamine", "python_calamine", "xlsx", _calamine),
    Library("openpyxl", "openpyxl", "xlsx", _openpyxl),
    Library("clevercsv", "clevercsv", "csv", _clevercsv),
    Library("html-to-markdown", "html_to_markdown", "html", _html_to_markdown),
    Library(
        "trafilatura",
        "trafilatura",
        "html",
        lambda it, path: it.extract(Path(path).read_bytes(), favor_recall=True) or "",
    ),
    Library("inscriptis", "inscriptis", "html", lambda it, path: it.get_text(Path(path).read_text(errors="replace"))),
    Library("html2text", "html2text", "html", lambda it, path: it.html2text(Path(path).read_text(errors="replace"))),
    Library("pdfplumber", "pdfplumber", "pdf", _pdfplumber),
    Library("pdfminer.six", "pdfminer.high_level", "pdf", lambda it, path: it.extract_text(path)),
    Library(
        "pypdf", "pypdf", "pdf", lambda it, path: "\n\n".join(page.extract_text() for page in it.PdfReader(path).pages)
    ),
    Library("pdf-oxide", "pdf_oxide", "pdf", _pdf_oxide),
    Library(
        "liteparse", "liteparse", "pdf", lambda it, path: it.LiteParse(ocr_enabled=False, quiet=True).parse(path).text
    ),
    Library("unpdf-markdown", "unpdf", "pdf", lambda it, path: it.to_text(path)),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--complaints", action="store_true", help="print what each library gets wrong")
    show = parser.parse_args().complaints
    warnings.simplefilter("ignore")
    logging.disable()
    print(f"| library | licence | MB | import (CPU) | {' | '.join(COLUMNS)} |\n|{' --- |' * (4 + len(COLUMNS))}")
    own = importlib.import_module("route_api.sandbox.text.extraction")
    results = _results(
        "docx html csv xlsx pptx pdf txt", lambda path: own.extract_text(Path(path), path.rpartition(".")[2])
    )
    sizes = sum(_megabytes(package) for package in OWN_PACKAGES)
    _print_row(f"**{OWN}** ({', '.join(OWN_PACKAGES)})", "", sizes, "none at the start", results, show)
    missing = []
    for library in LIBRARIES:
        try:
            version = metadata.version(library.package)
        except metadata.PackageNotFoundError:
            missing.append(library.package)
            continue
        module = importlib.import_module(library.module)
        results = _results(library.extensions, lambda path: str(library.read(module, path)))
        taken = f"{_import_ms(library.module):.0f} ms"
        _print_row(
            f"{library.package} {version}", _licence(library.package), _megabytes(library.package), taken, results, show
        )
    if missing:
        print(f"\nNot installed: {' '.join(missing)}", file=sys.stderr)


def _results(extensions: str, read: Callable[[str], str]) -> dict[str, dict[str, list[str]]]:
    """Return the complaints for each extension and each sample."""
    results: dict[str, dict[str, list[str]]] = {extension: {} for extension in extensions.split()}
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(SAMPLES):
            if case.extension in results:
                path = Path(folder, f"{number}.{case.extension}")
                path.write_bytes(case.content)
                try:
                    found = complaints(case, read(str(path)))
                except Exception as error:
                    found = [f"{type(error).__name__}: {error}"]
                results[case.extension][case.name] = found
    return results


def _print_row(
    name: str, licence: str, megabytes: float, taken: str, results: dict[str, dict[str, list[str]]], show: bool
) -> None:
    cells = []
    for extension in COLUMNS:
        found = results.get(extension, {})
        cells.append(f"{sum(not wrong for wrong in found.values())}/{len(found)}" if found else "")
    print(f"| {name} | {licence} | {megabytes:.0f} | {taken} | {' | '.join(cells)} |", flush=True)
    for extension, found in results.items() if show else ():
        for case, wrong in found.items():
            if wrong:
                print(f"    {extension}, {case}: {'; '.join(wrong)[:200]}")


def _licence(package: str) -> str:
    about = metadata.metadata(package)
    classified = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if line.startswith("License")
    ]
    return str(about.get("License-Expression") or ", ".join(classified) or about.get("License") or "not named")


def _megabytes(package: str) -> float:
    """Return the size of a package with all that it needs."""
    return sum(_bytes(name) for name in set(_needed(package, set()))) / 1_000_000


def _needed(package: str, seen: set[str]) -> Iterator[str]:
    from packaging.requirements import Requirement

    if package in seen:
        return
    seen.add(package)
    yield package
    with suppress(metadata.PackageNotFoundError):
        for line in metadata.requires(package) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield from _needed(requirement.name, seen)


def _bytes(package: str) -> int:
    with suppress(metadata.PackageNotFoundError):
        places = (file.locate() for file in metadata.files(package) or [])
        return sum(
            Path(place).stat().st_size for place in places if Path(place).is_file() and Path(place).suffix != ".pyc"
        )
    return 0


def _import_ms(module: str) -> float:
    """Return the CPU time of an import in a new process, without the start of Python: the shortest of five."""
    return max(0.0, 1000 * (_cpu_s(f"import {module}") - _cpu_s("pass")))


def _cpu_s(program: str) -> float:
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


if __name__ == "__main__":
    main()
