"""Which characters the name of an uploaded file may have: Dify's versions differ in that.

1.8.1 and 1.12.1 refuse a name with one of :data:`SPECIAL`, 1.16.1 takes it (tests/contract, documents/
create-by-file-quote-in-name), and so does 1.14.2, as seen on a live server. Of the versions between 1.12.1 and 1.14.2
the server's own answers tell.
"""

from .versions import version_tuple

SPECIAL = frozenset(':*?"<>|')

NEWEST_REFUSING, OLDEST_TAKING = (1, 12, 1), (1, 14, 2)
"""The versions that were asked."""

REFUSAL = "Filename contains invalid characters"
"""Dify's answer to a name with a character that it does not take. It has stored nothing then."""


class SpecialNames:
    """What the versions of one Dify do with names that have one of :data:`SPECIAL`."""

    def __init__(self) -> None:
        self._seen: dict[str | None, bool] = {}

    def are_taken(self, version: str | None) -> bool | None:
        """Whether this version takes such names; None if that is not known yet.

        :param version: from Dify's header X-Version; None if it sends none.
        """
        numbers = version_tuple(version)
        if version in self._seen or not numbers:
            return self._seen.get(version)
        if numbers <= NEWEST_REFUSING:
            return False
        return True if numbers >= OLDEST_TAKING else None

    def note(self, version: str | None, filename: str, *, was_taken: bool) -> None:
        """Remember what Dify did with a name."""
        if not SPECIAL.isdisjoint(filename):
            self._seen[version] = was_taken
