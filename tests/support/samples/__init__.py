"""Small files of every kind, and what their readers see in them. The tests of the extraction and the comparison of
libraries (`benchmarks/extraction.py`) use the same ones."""

from .html_samples import HTML
from .pdf_samples import PDF, PDF_WITHOUT_TEXT
from .sample import Sample, complaints
from .sheet_samples import SHEETS, SHEETS_WITHOUT_TEXT
from .text_samples import TEXTS
from .word_samples import WORD, WORD_WITHOUT_TEXT

WITHOUT_TEXT = (*WORD_WITHOUT_TEXT, *SHEETS_WITHOUT_TEXT, *PDF_WITHOUT_TEXT)
SAMPLES: tuple[Sample, ...] = (*WORD, *HTML, *SHEETS, *PDF, *TEXTS)


def sample(extension: str, name: str) -> Sample:
    """A sample by its name."""
    return next(case for case in (*SAMPLES, *WITHOUT_TEXT) if (case.extension, case.name) == (extension, name))


__all__ = ["SAMPLES", "WITHOUT_TEXT", "Sample", "complaints", "sample"]
