"""Pages of our lists that are longer than Dify's. Pure functions."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ValidationFailed
from ..languages import Sentence

Json = dict[str, Any]
FetchPage = Callable[[int, int], Json]
"""`fetch(page, limit)` returns Dify's page: `data`, a list of rows with an `id`, and `total`."""

TextsOf = Callable[[Json], Iterable[str | None]]

MAX_MATCHED = 5000
"""Rows that are compared with keywords which have a wildcard, 50 calls."""

DIFY_MAX_LIMIT = 100
"""Dify treats a larger `limit` as 100 and then says that no more rows exist (tests/contract/README.md, 8)."""

LIMITS = 4 * (DIFY_MAX_LIMIT, DIFY_MAX_LIMIT - 1, DIFY_MAX_LIMIT - 7, DIFY_MAX_LIMIT - 13)
"""Sizes of Dify's pages, one for each reading. A row that changed places and was missed is missed by the next reading
with a probability of a quarter at the most."""


def read_page(fetch: FetchPage, page: int, size: int) -> tuple[list[Json], int]:
    """Read one page of a list, with one upstream call for up to 100 rows and several for more.

    Dify's pages cannot just be joined. Dify sorts by whole seconds, and in 1.8.1 rows of the same second change places
    between two calls (tests/contract/README.md, 9): joined pages would lose some rows and repeat others. So we read all
    rows up to the end of our page, and also the other rows of the second at that end. While some are missing we read
    again with another `limit`. Then we sort the rows in an order that is always the same.

    A page of up to 100 rows is Dify's own, because nearly all pages are, and because nearly always rows have different
    seconds. So such pages may lose rows in 1.8.1; the documentation of `kb/list` says so.

    :param page: number of our page, from 1
    :param size: rows of our page
    :returns: the rows of this page, and the number of rows on all pages
    """
    if size <= DIFY_MAX_LIMIT:
        answer = fetch(page, size)
        return answer["data"], answer["total"]
    first, end = (page - 1) * size, page * size
    rows: dict[str, Json] = {}
    read_to, limits = end + 1, list(LIMITS)
    while True:
        seconds, total = _collect_rows(fetch, limits[0], read_to, rows)
        if not seconds:
            return [], total
        last = seconds[:end][-1]
        if seconds[-1] <= last and read_to <= len(seconds) < total:
            read_to = len(seconds) + DIFY_MAX_LIMIT  # The second at the end of our page has more rows.
            continue
        known = sum(_newest_first(row)[:2] <= last for row in rows.values())
        if known >= bisect_right(seconds, last) or len(limits) == 1:
            return sorted(rows.values(), key=_newest_first)[first:end], total
        limits.pop(0)


def has_wildcard(keywords: str) -> bool:
    """Whether Dify may read one of these characters as an SQL wildcard: every recorded version in the names of
    documents, 1.8.1 also in those of datasets and in segments (tests/contract/README.md, 10)."""
    return "%" in keywords or "_" in keywords


def read_matching_page(fetch: FetchPage, page: int, size: int, keywords: str, texts: TextsOf) -> tuple[list[Json], int]:
    """Read one page of the rows that contain `keywords` as a text.

    Dify finds at least these, because its wildcards match the characters themselves too. No version was recorded with
    an escaped wildcard, and one that escapes by itself would take a backslash for a text. So all rows that Dify finds
    are read, and those without the text are left out.

    :param texts: the texts of a row, one of which must contain the keywords; capital and small letters count as equal,
        because Dify has compared them already
    :returns: the rows of this page, and the number of rows on all pages
    :raises ValidationFailed: Dify finds more than MAX_MATCHED rows
    """
    if not has_wildcard(keywords):
        return read_page(fetch, page, size)

    def fetch_some(number: int, limit: int) -> Json:
        answer = fetch(number, limit)
        if answer["total"] > MAX_MATCHED:
            raise ValidationFailed(
                Sentence(
                    "keywords '{keywords}' are too general: Dify takes % and _ for wildcards and finds {total:,}"
                    " rows, of which {max_matched:,} can be compared. Give more of the text.",
                    keywords=keywords,
                    total=answer["total"],
                    max_matched=MAX_MATCHED,
                )
            )
        return answer

    rows, _ = read_page(fetch_some, 1, MAX_MATCHED)
    wanted = keywords.casefold()
    found = [row for row in rows if any(wanted in text.casefold() for text in texts(row) if text)]
    return found[(page - 1) * size : page * size], len(found)


def _collect_rows(
    fetch: FetchPage, limit: int, read_to: int, rows: dict[str, Json]
) -> tuple[list[tuple[float, int]], int]:
    """Read pages of `limit` rows until `read_to` rows are read or the list ends, and put the rows into `rows` by id.

    :returns: by what Dify sorts each row that was read, which is the same at each reading, whatever row is there; the
        number of rows on all pages
    """
    seconds: list[tuple[float, int]] = []
    page, total = 1, 1
    while (page - 1) * limit < min(read_to, total):
        answer = fetch(page, limit)
        total = answer["total"]
        rows.update((row["id"], row) for row in answer["data"])
        seconds += (_newest_first(row)[:2] for row in answer["data"])
        if not answer["data"]:
            break
        page += 1
    return seconds, total


def _newest_first(row: Json) -> tuple[float, int, str]:
    """Sort as Dify does: datasets and documents newest first, segments by their position in the document."""
    if "document_id" in row:
        return 0.0, row.get("position") or 0, row["id"]
    return -(row.get("created_at") or 0), 0, row["id"]
