"""Listing, creating and changing knowledge bases on Dify. `dataset_request_bodies.py` makes the bodies."""

from datetime import UTC, datetime
from typing import Any

from ..errors import KbNameTaken
from ..extensions import dify
from .dataset_request_bodies import create_dataset_body, update_dataset_body
from .not_found import kb_must_exist, kb_name_must_be_unused
from .paging import DIFY_MAX_LIMIT, read_matching_page
from .uploads import CLOCK_DIFFERENCE_S
from .workspace_models import WorkspaceModels

Json = dict[str, Any]


def list_kbs(page: int, size: int, keywords: str) -> tuple[list[Json], int]:
    """One page of Dify's datasets.

    :returns: the datasets and the number of all that match
    """

    def fetch(number: int, limit: int) -> Json:
        return dify.knowledge.list_datasets(number, limit, keywords or None)

    return read_matching_page(fetch, page, size, keywords, lambda dataset: [dataset["name"]])


def create_kb(wanted: Json, first_tried_at: datetime | None = None) -> tuple[Json, Json]:
    """Create a dataset.

    :param wanted: the checked parameters of `kb/create`
    :param first_tried_at: in UTC, if an earlier request with the same Idempotency-Key failed or was interrupted. If the
        name is taken by a dataset that was created since, the earlier request has created it.
    :returns: Dify's dataset and the body that was sent
    :raises KbNameTaken: another kb has this name
    """
    body = create_dataset_body(wanted, WorkspaceModels())
    try:
        with kb_name_must_be_unused(wanted["name"]):
            return dify.knowledge.create_dataset(body), body
    except KbNameTaken:
        created = first_tried_at and _created_since(wanted["name"], first_tried_at)
        if not created:
            raise
        return created, body


def _created_since(name: str, moment: datetime) -> Json | None:
    """The dataset with this name, if it was created after this moment, in UTC."""
    created_from = moment.replace(tzinfo=UTC).timestamp() - CLOCK_DIFFERENCE_S
    found, _ = list_kbs(1, DIFY_MAX_LIMIT, name)
    return next((row for row in found if row["name"] == name and (row.get("created_at") or 0) >= created_from), None)


def update_kb(wanted: Json) -> Json:
    """Change a dataset. Settings that are left out keep their values.

    Dify 1.8.1 deletes the retrieval settings that a PATCH leaves out (tests/contract/DIFFERENCES.md, 23 and 24), so
    they are read, merged and all sent.

    :param wanted: the checked parameters of `kb/update`
    :returns: Dify's dataset
    :raises KbNotFound: there is no such kb
    :raises KbNameTaken: another kb has this name
    """
    kb_id = wanted["kb_id"]
    with kb_must_exist(kb_id), kb_name_must_be_unused(wanted.get("name", "")):
        changes = update_dataset_body(wanted, dify.knowledge.get_dataset(kb_id), WorkspaceModels())
        return dify.knowledge.update_dataset(kb_id, changes)
