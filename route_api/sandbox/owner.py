"""Who is named as the maker of datasets and documents: the console's one account."""

from .account import find_account
from .store import Store

NOBODY = ("00000000-0000-0000-0000-000000000000", "sandbox")


def owner_of(store: Store) -> tuple[str, str]:
    """Id and name of the account; before the setup there is nobody yet."""
    account = find_account(store)
    return NOBODY if account is None else (account["id"], account["name"])
