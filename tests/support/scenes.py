"""One successful call of every endpoint of the API document, with the answers of Dify."""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from .fake_dify import FakeDify
from .recordings import DIFY, load

Scene = Callable[[FakeDify, FlaskClient], TestResponse]

FILE_CONTENT = "第一回 甄士隐梦幻识通灵".encode()
FILE_NAME = "红楼梦 第一回.txt"
FILE_HEADERS = {
    "Content-Disposition": "attachment; filename*=UTF-8''%E7%BA%A2%E6%A5%BC%E6%A2%A6%20%E7%AC%AC%E4%B8%80%E5%9B%9E.txt"
}


def kb_list(dify: FakeDify, client: FlaskClient) -> TestResponse:
    dify.play("datasets/list-default")
    return client.get("/v1/kb/list", query_string={"page": 1, "page_size": 20})


def kb_create(dify: FakeDify, client: FlaskClient) -> TestResponse:
    dify.play("datasets/create-all-fields")
    return client.post("/v1/kb/create", json={"name": "鲁迅杂文赏析"})


def kb_detail(dify: FakeDify, client: FlaskClient) -> TestResponse:
    (kb_id,) = dify.play("datasets/get-detail")
    return client.get("/v1/kb/detail", query_string={"kb_id": kb_id})


def kb_update(dify: FakeDify, client: FlaskClient) -> TestResponse:
    (kb_id,) = dify.play("datasets/get-detail")
    dify.play("datasets/patch-retrieval-model-full")
    return client.post("/v1/kb/update", json={"kb_id": kb_id, "weights": 0.7})


def kb_rm(dify: FakeDify, client: FlaskClient) -> TestResponse:
    (kb_id,) = dify.play("datasets/delete")
    return client.post("/v1/kb/rm", json={"kb_id": kb_id})


def chunk_retrieval_test(dify: FakeDify, client: FlaskClient) -> TestResponse:
    (kb_id,) = dify.play("retrieve/qa-model")
    return client.post("/v1/chunk/retrieval_test", json={"kb_id": kb_id, "question": "葫芦庙在哪里"})


def datasets_create_by_file(dify: FakeDify, client: FlaskClient) -> TestResponse:
    kb_id = play_free_names(dify)
    dify.play("documents/create-by-file-txt-chinese-name")
    form = {"data": '{"indexing_technique":"high_quality"}', "file": (BytesIO(FILE_CONTENT), FILE_NAME)}
    return client.post(f"/v1/datasets/{kb_id}/document/create_by_file", data=form)


def document_upload(dify: FakeDify, client: FlaskClient) -> TestResponse:
    kb_id = play_free_names(dify)
    dify.play("documents/create-by-file-txt-chinese-name")
    return client.post("/v1/document/upload", data={"kb_id": kb_id, "file": (BytesIO(FILE_CONTENT), FILE_NAME)})


def document_list(dify: FakeDify, client: FlaskClient) -> TestResponse:
    (kb_id,) = dify.play("documents/list-default")
    return client.get("/v1/document/list", query_string={"kb_id": kb_id})


def document_get(dify: FakeDify, client: FlaskClient) -> TestResponse:
    kb_id, document_id = play_file(dify, with_details=True)
    return client.get("/v1/document/get", query_string={"kb_id": kb_id, "document_id": document_id})


def document_rm(dify: FakeDify, client: FlaskClient) -> TestResponse:
    kb_id, document_id = dify.play("documents/delete")
    return client.delete("/v1/document/rm", json={"kb_id": kb_id, "doc_id": document_id})


def chunk_list(dify: FakeDify, client: FlaskClient) -> TestResponse:
    kb_id, document_id = dify.play("segments/list-default")
    dify.play("documents/get-one", f"/v1/datasets/{kb_id}/documents/{document_id}")
    return client.get("/v1/chunk/list", query_string={"kb_id": kb_id, "doc_id": document_id})


def document_change_status(dify: FakeDify, client: FlaskClient) -> TestResponse:
    kb_id, document_id = dify.play("documents/get-one")
    dify.play("documents/status-disable")
    body = {"kb_id": kb_id, "doc_id": document_id, "action": "disable"}
    return client.post("/v1/document/change_status", json=body)


def user_set_tenant_info(dify: FakeDify, client: FlaskClient) -> TestResponse:
    play_login(dify)
    dify.play("models/console-default-post")
    body = {"model": "qwen3:4b", "model_type": "llm", "provider": "langgenius/ollama/ollama"}
    return client.post("/v1/user/set_tenant_info", json=body)


def llm_my_llms(dify: FakeDify, client: FlaskClient) -> TestResponse:
    dify.play("models/list-llm")
    return client.get("/v1/llm/my_llms", query_string={"model_type": "llm"})


def chunk_switch(dify: FakeDify, client: FlaskClient) -> TestResponse:
    kb_id, document_id = dify.ids("segments/console-disable-two")
    chunk_ids = load(dify.version, "segments/console-disable-two")["request"]["query"]["segment_id"]
    for chunk_id in chunk_ids:
        dify.play("segments/get-one", f"/v1/datasets/{kb_id}/documents/{document_id}/segments/{chunk_id}")
    dify.play("auth/login")
    dify.play("segments/console-disable-two")
    body = {"kb_id": kb_id, "doc_id": document_id, "chunk_ids": chunk_ids, "available_int": 0}
    return client.post("/v1/chunk/switch", json=body)


def datasets_segment(dify: FakeDify, client: FlaskClient) -> TestResponse:
    kb_id, document_id = dify.ids("segments/console-disable-two")
    chunk_ids = load(dify.version, "segments/console-disable-two")["request"]["query"]["segment_id"]
    for chunk_id in chunk_ids:
        dify.play("segments/get-one", f"/v1/datasets/{kb_id}/documents/{document_id}/segments/{chunk_id}")
    dify.play("auth/login")
    dify.play("segments/console-disable-two")
    path = f"/v1/datasets/{kb_id}/documents/{document_id}/segment/disable"
    return client.patch(path, query_string={"segment_id": chunk_ids})


def document_status(dify: FakeDify, client: FlaskClient) -> TestResponse:
    (kb_id,) = dify.play("documents/indexing-status-completed")
    batch = load(dify.version, "documents/indexing-status-completed")["request"]["path"].split("/")[-2]
    return client.post("/v1/document/status", json={"kb_id": kb_id, "batch": batch})


def conversation_completion(dify: FakeDify, client: FlaskClient) -> TestResponse:
    dify.play("chat/parameters-without-variables")
    dify.play("chat/streaming-first-turn")
    return client.post("/v1/conversation/completion", json={"user_id": "test_09_50", "message": "葫芦庙在哪里？"})


def conversation_completion_db(dify: FakeDify, client: FlaskClient) -> TestResponse:
    dify.play("chat/parameters-with-variables")
    (kb_id,) = dify.play("retrieve/semantic")
    dify.play("chat/streaming-first-turn")
    body = {"user_id": "test_kg_16:54", "message": "英莲在元宵节走失", "kb_id": kb_id}
    return client.post("/v1/conversation/completion_db", json=body)


EXAMPLES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        kb_list,
        kb_create,
        kb_detail,
        kb_update,
        kb_rm,
        chunk_retrieval_test,
        datasets_create_by_file,
        document_upload,
        document_list,
        document_get,
        document_rm,
        chunk_list,
        document_change_status,
        user_set_tenant_info,
        llm_my_llms,
        chunk_switch,
        document_status,
        conversation_completion,
        conversation_completion_db,
    )
}
"""The calls by the name of their example in `tests/examples`: the path with an underscore for the slash."""

SCENES: dict[str, Scene] = {**EXAMPLES, "datasets_segment": datasets_segment}
"""All endpoints of the API document, also the one without an example."""


def play_login(dify: FakeDify) -> None:
    """Prepare a console login. The gateway may ask for the version first, which decides the form of the password."""
    dify.mock.get(f"{DIFY}/v1/", json={"server_version": dify.version}, headers={"X-Version": dify.version})
    dify.play("auth/login")


def play_free_names(dify: FakeDify) -> str:
    """Prepare the check of an upload for a document of the same name: there is none."""
    (kb_id,) = dify.ids("documents/create-by-file-txt-chinese-name")
    dify.play("documents/list-keyword-none-found", f"/v1/datasets/{kb_id}/documents")
    return kb_id


def play_file(dify: FakeDify, *, with_details: bool) -> list[str]:
    """Prepare the download of a document's original file, in the way of this version of Dify.

    :param with_details: whether the gateway also reads the document itself
    :returns: the ids of kb and document
    """
    kb_id, document_id = ids = dify.ids("documents/get-one")
    if dify.version == "1.16.1":
        play_file_address(dify)
    else:
        path = f"/v1/datasets/{kb_id}/documents/{document_id}/download"
        no_route = load("1.12.1", "documents/upload-file")["response"]["body"]
        dify.mock.get(DIFY + path, body=no_route, status=404, headers={"X-Version": dify.version})
        dify.play("documents/upload-file")
    if dify.version == "1.12.1":
        dify.play("auth/login")
        play_file_address(dify)
    if dify.version != "1.8.1" and with_details:
        dify.play("documents/get-one")
    file_id = file_id_of(dify)
    dify.mock.get(
        f"{DIFY}/files/{file_id}/file-preview",
        body=FILE_CONTENT,
        content_type="application/octet-stream",
        headers={**FILE_HEADERS, "Content-Length": str(len(FILE_CONTENT))},
    )
    return ids


def play_file_address(dify: FakeDify) -> None:
    """Prepare the answer with the address of a file. 1.8.1 has the address in its details."""
    if dify.version == "1.12.1":
        dify.play("documents/console-download")
    else:
        kb_id, document_id = dify.ids("documents/get-one")
        found = dify.body("documents/service-download")
        url = re.sub("<dify>/files/[^/]+/", f"{DIFY}/files/{file_id_of(dify)}/", found["url"])
        dify.answer("GET", f"/v1/datasets/{kb_id}/documents/{document_id}/download", {"url": url})


def file_id_of(dify: FakeDify) -> str:
    """The id of the file in the recording documents/get-one."""
    document: Any = dify.body("documents/get-one")
    file_id: str = document["data_source_info"]["upload_file"]["id"]
    return file_id
