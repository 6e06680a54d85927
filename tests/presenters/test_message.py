"""Every recorded retrieval record -> the sources that a turn's answer shows."""

from route_api.presenters.message import ragflow_reference, reference

from ..support.recorded_objects import objects

RECORDS = objects("retrieve", "segment", "score")


def test_every_recorded_passage_becomes_a_source_in_both_forms() -> None:
    for where, record in RECORDS:
        segment = record["segment"]
        source = reference({**record, "kb_id": "kb"})
        assert (source["chunk_id"], source["doc_id"]) == (segment["id"], segment["document_id"]), where
        assert source["kb_id"] == "kb" and source["content"].startswith(segment["content"])
        (chunk,) = ragflow_reference([{**record, "kb_id": "kb"}])["chunks"]
        assert (chunk["id"], chunk["document_id"], chunk["dataset_id"]) == (segment["id"], segment["document_id"], "kb")
        assert chunk["similarity"] == source["score"]
