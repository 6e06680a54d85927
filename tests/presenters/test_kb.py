"""Every recorded dataset -> the answers of `kb/…`."""

from route_api.presenters.kb import kb_detail, kb_row, kb_updated
from route_api.schemas.kb import KB_DETAIL, KB_ROW, KB_UPDATED

from ..support.recorded_objects import objects, wrong

DATASETS = objects("datasets", "id", "retrieval_model_dict", "document_count")


def test_every_recorded_dataset_makes_the_rows_of_a_kb() -> None:
    assert wrong(KB_ROW, DATASETS, kb_row) == []
    detail = {**KB_DETAIL, "manager_list": []}
    assert wrong(detail, DATASETS, kb_detail) == []
    assert wrong(KB_UPDATED, DATASETS, kb_updated) == []
