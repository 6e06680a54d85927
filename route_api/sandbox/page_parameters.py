"""The parameters `page` and `limit`, and the answer of a list, with the oddities of Dify."""

from dataclasses import dataclass
from typing import Any

from flask import request

from .request_fields import RequestFields

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
_ANY_INT = 2**31 - 1


@dataclass(frozen=True)
class Page:
    """The requested page. `rows` and `offset` say which rows the answer contains."""

    page: int
    limit: int

    @property
    def rows(self) -> int:
        """The number of rows: at most 100, and 20 for a limit below 1 (datasets/list-limit-101-of-111,
        list-limit-0)."""
        return min(self.limit, MAX_LIMIT) if self.limit >= 1 else DEFAULT_LIMIT

    @property
    def offset(self) -> int:
        """The number of rows before this page. Page 0 is the same as page 1 (datasets/list-page-0)."""
        return (max(self.page, 1) - 1) * self.rows

    def answer(self, data: list[Any], total: int) -> dict[str, Any]:
        """Make the answer. It repeats the requested limit; `has_more` is true if `data` has exactly as many rows."""
        has_more = len(data) == self.limit
        return {"data": data, "has_more": has_more, "limit": self.limit, "total": total, "page": self.page}


def requested_page(model: str) -> Page:
    """Read the page from the query.

    :param model: the name of Dify's pydantic model; the error text contains it
    :raises SandboxError: 400, if `page` or `limit` is no number (datasets/list-limit-empty)
    """
    query = RequestFields(model, request.args)
    page, limit = (query.number(name, default, -_ANY_INT, _ANY_INT) for name, default in (("page", 1), ("limit", 20)))
    return Page(page, limit)


def requested_page_or_default() -> Page:
    """Read the page from the query.

    A value that is no number becomes the default (segments/list-limit-not-a-number).
    """
    return Page(request.args.get("page", 1, int), request.args.get("limit", DEFAULT_LIMIT, int))


def contains_pattern(keyword: str) -> str:
    r"""Make a LIKE pattern that means "contains". The SQL must add `ESCAPE '\\'`."""
    escaped = keyword.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
