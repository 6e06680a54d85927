"""The whole story, played with the client that openapi-python-client writes. Arguments: the API's address, a key."""

import json
import sys
import time
from io import BytesIO
from typing import TypeVar

from route_api_client import AuthenticatedClient
from route_api_client.api.chunk import chunk_retrieval_test
from route_api_client.api.conversation import completion_db
from route_api_client.api.document import document_download, document_list, document_status, document_upload
from route_api_client.api.kb import kb_create, kb_detail, kb_rm
from route_api_client.models import (
    ChunkRetrievalTestBody,
    CompletionDbBody,
    CompletionDbBodyStreamMode,
    DocumentDownloadBody,
    DocumentListBody,
    DocumentStatusBody,
    DocumentUploadBody,
    Failure,
    KbCreateBody,
    KbDetailBody,
    KbRmBody,
    SourcesEvent,
)
from route_api_client.types import File

Answer = TypeVar("Answer")

TEXT = "葫芦庙在姑苏城阊门外十里街的仁清巷内。"


def succeeded(answer: Answer | Failure | None) -> Answer:
    """The answer, which must be no failure."""
    assert answer is not None and not isinstance(answer, Failure), answer
    return answer


def main(base_url: str, key: str) -> None:
    """Create, upload, list, retrieve, ask, delete."""
    client = AuthenticatedClient(base_url=base_url, token=key)
    kb_id = succeeded(kb_create.sync(client=client, body=KbCreateBody(name=f"Python {time.time()}"))).data.kb_id

    form = DocumentUploadBody(kb_id=kb_id, file=[File(payload=BytesIO(TEXT.encode()), file_name="葫芦庙.txt")])
    (uploaded,) = succeeded(document_upload.sync(client=client, body=form)).data
    while True:
        asked = DocumentStatusBody(kb_id=kb_id, batch=uploaded.batch)
        (row,) = succeeded(document_status.sync(client=client, body=asked)).data.data
        if row.indexing_status == "completed":
            break
        time.sleep(0.1)
    (listed,) = succeeded(document_list.sync(client=client, body=DocumentListBody(kb_id=kb_id))).data.docs
    assert (listed.name, listed.run) == ("葫芦庙.txt", "3")
    one = DocumentDownloadBody(kb_id=kb_id, document_id=[listed.id])
    assert succeeded(document_download.sync(client=client, body=one)).payload.read() == TEXT.encode()
    search = ChunkRetrievalTestBody(kb_id=kb_id, question="葫芦庙在哪里？")
    assert succeeded(chunk_retrieval_test.sync(client=client, body=search)).data.records[0].content == TEXT

    question = CompletionDbBody(user_id="yinglian", kb_id=kb_id, message="葫芦庙在哪里？")
    whole = succeeded(completion_db.sync(client=client, body=question))
    assert (whole.data.status, len(whole.rag_info.references)) == ("done", 1)
    question.streaming, question.stream_mode = True, CompletionDbBodyStreamMode.EVENTS
    events = []
    with client.get_httpx_client().stream(**completion_db._get_kwargs(body=question)) as stream:
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            events += [value] if name == "event" else []
            if name == "data" and events[-1] == "sources":
                assert SourcesEvent.from_dict(json.loads(value)).references[0].content == TEXT
    assert (events[0], events[-1]) == ("sources", "end") and "delta" in events

    assert succeeded(kb_rm.sync(client=client, body=KbRmBody(kb_id=kb_id))).code == 0
    gone = kb_detail.sync(client=client, body=KbDetailBody(kb_id=kb_id))
    assert isinstance(gone, Failure) and gone.error == "kb_not_found"
    print("the end")


if __name__ == "__main__":
    main(*sys.argv[1:])
