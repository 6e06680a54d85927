"""The state that each recorded case of the knowledge areas was recorded in, built again in the sandbox."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .sandbox_knowledge import CHAPTER, RULE, SEMANTIC, Knowledge

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
TWO_PARAGRAPHS = "葫芦庙在姑苏城阊门外十里街的仁清巷内。\n\n庙旁住着一家乡宦，姓甄，名费，字士隐。"


@dataclass
class Scene:
    """The ids that stand in a request where the recording has the lab's."""

    knowledge: Knowledge
    dataset: str = UNKNOWN_ID
    document: str = UNKNOWN_ID
    segment: str = UNKNOWN_ID
    batch: str = "20200101000000000000"
    url: str = ""

    def look(self) -> "Scene":
        """Fill in the batch and the first segment of the document."""
        rows = self.knowledge.store.connection()
        self.batch = rows.execute("SELECT batch FROM document WHERE id = ?", (self.document,)).fetchone()["batch"]
        segments = self.knowledge.segments(self.dataset, self.document)
        self.segment = segments[0]["id"] if segments else UNKNOWN_ID
        return self


Build = Callable[[Knowledge], Scene]


def empty(knowledge: Knowledge) -> Scene:
    """One dataset without a document."""
    return Scene(knowledge, knowledge.create_dataset("鲁迅杂文赏析二", retrieval_model=SEMANTIC))


def nothing(knowledge: Knowledge) -> Scene:
    """No dataset at all."""
    return Scene(knowledge)


def name_only(knowledge: Knowledge) -> Scene:
    """A dataset that was created with a name only."""
    return Scene(knowledge, knowledge.service("POST", "/datasets", json={"name": "只有名字二"}).json["id"])


def named(name: str) -> Build:
    """Two datasets, one of that name."""

    def build(knowledge: Knowledge) -> Scene:
        knowledge.create_dataset(name)
        return empty(knowledge)

    return build


def partial_members(knowledge: Knowledge) -> Scene:
    """A dataset for some members of the workspace."""
    scene = empty(knowledge)
    body = {"permission": "partial_members", "partial_member_list": [{"user_id": UNKNOWN_ID}]}
    assert knowledge.service("PATCH", f"/datasets/{scene.dataset}", json=body).status_code == 200
    return scene


def many_datasets(knowledge: Knowledge) -> Scene:
    """111 datasets."""
    with knowledge.app.test_client() as client:
        for number in range(111):
            body = {"name": f"批量{number:03}"}
            client.post("/v1/datasets", json=body, headers={"Authorization": f"Bearer {knowledge.key}"})
    return Scene(knowledge)


def deleted_dataset(knowledge: Knowledge) -> Scene:
    """A dataset that is gone."""
    scene = empty(knowledge)
    assert knowledge.service("DELETE", f"/datasets/{scene.dataset}").status_code in (200, 204)
    return scene


def chapter(knowledge: Knowledge) -> Scene:
    """Two finished documents; the first has five segments."""
    dataset_id = knowledge.create_dataset("分段样本", retrieval_model=SEMANTIC)
    knowledge.upload(dataset_id, "第二份.txt", "英莲又名香菱，是甄士隐之女。\n\n元宵节霍启失了英莲。")
    return Scene(knowledge, dataset_id, knowledge.upload(dataset_id, "红楼梦第一回.txt", CHAPTER)).look()


def several_documents(knowledge: Knowledge) -> Scene:
    """Six documents."""
    scene = chapter(knowledge)
    for number in range(4):
        knowledge.upload(scene.dataset, f"红楼梦{number}.txt", f"第{number}回")
    return scene


def economy(knowledge: Knowledge) -> Scene:
    """The same chapter in an economy dataset."""
    dataset_id = knowledge.create_dataset("经济", indexing_technique="economy")
    return Scene(knowledge, dataset_id, knowledge.upload(dataset_id, "红楼梦第一回.txt", CHAPTER)).look()


def hierarchical(knowledge: Knowledge) -> Scene:
    """The same chapter as parents with children."""
    rules = {
        "pre_processing_rules": [{"id": "remove_extra_spaces", "enabled": True}],
        "segmentation": {"separator": "\n\n", "max_tokens": 500},
        "parent_mode": "paragraph",
        "subchunk_segmentation": {"separator": "。", "max_tokens": 100},
    }
    rule = {"mode": "hierarchical", "rules": rules}
    dataset_id = knowledge.create_dataset("父子")
    document_id = knowledge.upload(dataset_id, "父子.txt", CHAPTER, doc_form="hierarchical_model", process_rule=rule)
    return Scene(knowledge, dataset_id, document_id).look()


def questions(knowledge: Knowledge) -> Scene:
    """A qa_model document whose text has no pairs."""
    dataset_id = knowledge.create_dataset("问答录")
    return Scene(knowledge, dataset_id, knowledge.upload(dataset_id, "问答.txt", TWO_PARAGRAPHS, doc_form="qa_model"))


def questions_with_answers(knowledge: Knowledge) -> Scene:
    """The same with two pairs that were added."""
    scene = questions(knowledge)
    pairs = [
        {"content": "葫芦庙在哪里？", "answer": "在姑苏城阊门外十里街仁清巷内。"},
        {"content": "甄士隐的女儿叫什么？", "answer": "英莲。"},
    ]
    path = f"/datasets/{scene.dataset}/documents/{scene.document}/segments"
    assert knowledge.service("POST", path, json={"segments": pairs}).status_code == 200
    return scene


def failed(knowledge: Knowledge) -> Scene:
    """A document whose indexing failed."""
    scene = empty(knowledge)
    rule = json.loads(json.dumps(RULE))
    rule["rules"]["segmentation"]["max_tokens"] = 49
    scene.document = knowledge.upload(scene.dataset, "嵌入失败.txt", CHAPTER, process_rule=rule)
    return scene.look()


def without_text(knowledge: Knowledge) -> Scene:
    """A document of no bytes."""
    scene = empty(knowledge)
    scene.document = knowledge.upload(scene.dataset, "empty.txt", "")
    return scene.look()


def waiting(knowledge: Knowledge) -> Scene:
    """A document that nobody indexes."""
    scene = empty(knowledge)
    knowledge.stop()
    scene.document = knowledge.post_file(scene.dataset, "长篇.txt", CHAPTER).json["document"]["id"]
    return scene.look()


def caught(status: str, *columns: str) -> Build:
    """A document that is caught in a state, with those times known."""

    def build(knowledge: Knowledge) -> Scene:
        scene = waiting(knowledge)
        with knowledge.store.transaction() as connection:
            connection.execute(
                f"UPDATE document SET indexing_status = ?{''.join(f', {name} = 1' for name in columns)}",
                (status,),
            )
        return scene

    return build


def caught_indexing(knowledge: Knowledge) -> Scene:
    """A document whose segments are written but not found yet."""
    scene = empty(knowledge)
    scene.document = knowledge.upload(scene.dataset, "长篇.txt", CHAPTER)
    knowledge.stop()  # Otherwise its second thread might take the document.
    with knowledge.store.transaction() as connection:
        connection.execute("UPDATE document SET indexing_status = 'indexing', tokens = NULL, completed_at = NULL")
        connection.execute("UPDATE segment SET status = 'indexing', enabled = 0, completed_at = NULL")
    return scene.look()


def deleted_document(knowledge: Knowledge) -> Scene:
    """A document that is gone."""
    scene = chapter(knowledge)
    knowledge.service("DELETE", f"/datasets/{scene.dataset}/documents/{scene.document}")
    return scene


def deleted_segment(knowledge: Knowledge) -> Scene:
    """A segment that is gone."""
    scene = chapter(knowledge)
    path = f"/datasets/{scene.dataset}/documents/{scene.document}/segments/{scene.segment}"
    knowledge.service("DELETE", path)
    return scene


def switched(action: str) -> Build:
    """The chapter after a status action."""

    def build(knowledge: Knowledge) -> Scene:
        scene = chapter(knowledge)
        path = f"/datasets/{scene.dataset}/documents/status/{action}"
        assert knowledge.service("PATCH", path, json={"document_ids": [scene.document]}).status_code == 200
        return scene

    return build


def segment_disabled(knowledge: Knowledge) -> Scene:
    """The chapter with its first segment disabled."""
    scene = chapter(knowledge)
    path = f"/datasets/{scene.dataset}/documents/{scene.document}/segments/{scene.segment}"
    assert knowledge.service("POST", path, json={"segment": {"enabled": False}}).status_code == 200
    return scene


def other_dataset(knowledge: Knowledge) -> Scene:
    """The chapter, asked for under another dataset."""
    scene = chapter(knowledge)
    scene.dataset = knowledge.create_dataset("别的")
    return scene


def built_in_metadata(knowledge: Knowledge) -> Scene:
    """The chapter with the built-in metadata on."""
    scene = chapter(knowledge)
    path = f"/datasets/{scene.dataset}/metadata/built-in/enable"
    assert knowledge.service("POST", path).status_code == 200
    return scene


def own_metadata(knowledge: Knowledge) -> Scene:
    """The same and a field `doc_id` that holds each document's id."""
    scene = built_in_metadata(knowledge)
    path = f"/datasets/{scene.dataset}"
    field = knowledge.service("POST", f"{path}/metadata", json={"type": "string", "name": "doc_id"}).json
    item = {"id": field["id"], "name": "doc_id", "value": scene.document}
    body = {"operation_data": [{"document_id": scene.document, "metadata_list": [item]}]}
    assert knowledge.service("POST", f"{path}/documents/metadata", json=body).status_code == 200
    return scene


def closed(knowledge: Knowledge) -> Scene:
    """The chapter in a dataset that is closed for the service API."""
    scene = own_metadata(knowledge)
    path = f"/datasets/{scene.dataset}/api-keys/disable"
    assert knowledge.console("POST", path).status_code == 200
    return scene


def third_document(knowledge: Knowledge) -> Scene:
    """A document that came after the built-in metadata was switched on."""
    scene = built_in_metadata(knowledge)
    knowledge.upload(scene.dataset, "第三份.txt", "英莲的故事，第三份。")
    return scene


def downloadable(name: str) -> Build:
    """A document of that name, and a signed url of its file."""

    def build(knowledge: Knowledge) -> Scene:
        scene = empty(knowledge)
        scene.document = knowledge.upload(scene.dataset, name, CHAPTER)
        path = f"/datasets/{scene.dataset}/documents/{scene.document}/download"
        scene.url = knowledge.console("GET", path).json["url"]
        return scene

    return build


def ten_keys(knowledge: Knowledge) -> Scene:
    """As many dataset keys as there may be."""
    while knowledge.console("POST", "/datasets/api-keys").status_code == 200:
        pass
    return Scene(knowledge)


AREA_SCENES: dict[str, Build] = {
    "datasets": empty,
    "documents": chapter,
    "segments": chapter,
    "retrieve": chapter,
    "metadata": chapter,
}
"""What is there if a case is not named below."""
SCENES: dict[str, Build] = {
    "datasets/create-all-fields": nothing,
    "datasets/create-duplicate-name": named("鲁迅杂文赏析"),
    "datasets/patch-duplicate-name": named("鲁迅杂文赏析"),
    "datasets/delete-again": deleted_dataset,
    "datasets/get-fresh-name-only": name_only,
    "datasets/get-fresh-after-first-document": chapter,
    "datasets/get-api-enabled-again": own_metadata,
    "datasets/get-qa-model": questions,
    "datasets/get-partial-members": partial_members,
    "datasets/patch-partial-members": partial_members,
    "datasets/patch-empty-object": partial_members,
    "datasets/patch-high-quality-without-model": partial_members,
    "datasets/list-default": named("鲁迅杂文赏析"),
    "datasets/list-limit-negative": named("鲁迅杂文赏析"),
    "datasets/list-limit-0": named("鲁迅杂文赏析"),
    "datasets/list-page-0": named("鲁迅杂文赏析"),
    "datasets/list-api-disabled": closed,
    "datasets/get-api-disabled": closed,
    "datasets/patch-api-disabled": closed,
    "datasets/delete-api-disabled": closed,
    "datasets/list-limit-100-of-111": many_datasets,
    "datasets/list-limit-101-of-111": many_datasets,
    "datasets/list-limit-101-page-2": many_datasets,
    "datasets/list-limit-37-page-3-exact-end": many_datasets,
    "datasets/list-page1-limit2": many_datasets,
    "datasets/list-page2-limit2": many_datasets,
    "documents/create-by-file-api-disabled": closed,
    "documents/create-by-file-missing-data-part-fresh-dataset": empty,
    "documents/create-by-file-no-indexing-technique": name_only,
    "documents/create-by-file-fresh-dataset": name_only,
    "documents/create-by-file-hierarchical": empty,
    "documents/create-by-file-qa-model": empty,
    "documents/create-by-file-text-in-qa-dataset": questions,
    "documents/create-by-file-separator-chinese": name_only,
    "documents/create-by-file-separator-escaped-chinese": name_only,
    "documents/create-by-text-no-process-rule-fresh-dataset": name_only,
    "documents/console-pause": waiting,
    "documents/console-resume": caught("paused", "paused_at"),
    "documents/delete-again": deleted_document,
    "documents/delete-archived": switched("archive"),
    "documents/delete-while-indexing": caught_indexing,
    "documents/download": downloadable("红楼梦 第一回.txt"),
    "documents/download-bad-signature": downloadable("红楼梦 第一回.txt"),
    "documents/download-expired": downloadable("红楼梦 第一回.txt"),
    "documents/download-markdown": downloadable("readme.md"),
    "documents/download-no-signature": downloadable("红楼梦 第一回.txt"),
    "documents/preview-url": downloadable("红楼梦 第一回.txt"),
    "documents/get-one-after-delete": deleted_document,
    "documents/get-one-archived": switched("archive"),
    "documents/get-one-disabled": switched("disable"),
    "documents/get-one-error-state": failed,
    "documents/get-one-hierarchical": hierarchical,
    "documents/get-one-other-dataset": other_dataset,
    "documents/get-one-qa-model": questions,
    "documents/get-one-waiting": waiting,
    "documents/get-one-while-indexing": caught_indexing,
    "documents/indexing-status-after-delete": deleted_document,
    "documents/indexing-status-empty-file": without_text,
    "documents/indexing-status-error": failed,
    "documents/indexing-status-error-max-tokens": failed,
    "documents/indexing-status-indexing": caught_indexing,
    "documents/indexing-status-indexing-progress": caught_indexing,
    "documents/indexing-status-parsing": caught("parsing", "processing_started_at"),
    "documents/indexing-status-splitting": caught("splitting", "processing_started_at", "parsing_completed_at"),
    "documents/indexing-status-paused": caught("paused", "processing_started_at", "paused_at"),
    "documents/indexing-status-waiting": waiting,
    "documents/list-api-disabled": closed,
    "documents/list-empty-dataset": empty,
    "documents/list-error-state": failed,
    "documents/list-status-error": failed,
    "documents/list-page2-limit3": several_documents,
    "documents/list-waiting": waiting,
    "documents/list-while-indexing": caught_indexing,
    "documents/segments-waiting": waiting,
    "documents/segments-while-indexing": caught_indexing,
    "documents/status-disable-waiting": waiting,
    "documents/status-disable-while-indexing": caught_indexing,
    "documents/status-disable-again": switched("disable"),
    "documents/status-disable-again-at-once": switched("disable"),
    "documents/status-document-of-other-dataset": other_dataset,
    "documents/status-enable": switched("disable"),
    "documents/status-error-document": failed,
    "documents/status-un-archive": switched("archive"),
    "segments/child-chunks": hierarchical,
    "segments/create-qa": questions,
    "segments/create-qa-no-answer": questions,
    "segments/delete-again": deleted_segment,
    "segments/get-one-disabled": segment_disabled,
    "segments/list-economy": economy,
    "segments/list-hierarchical": hierarchical,
    "segments/list-qa-model": questions,
    "segments/list-qa-with-answers": questions_with_answers,
    "segments/update-content-of-disabled": segment_disabled,
    "segments/update-enable": segment_disabled,
    "retrieve/api-disabled": closed,
    "retrieve/empty-dataset": empty,
    "retrieve/hierarchical": hierarchical,
    "retrieve/keyword-on-economy": economy,
    "retrieve/semantic-on-economy": economy,
    "retrieve/metadata-filter-custom-doc-id": own_metadata,
    "retrieve/metadata-filter-document-name": built_in_metadata,
    "retrieve/metadata-filter-in": built_in_metadata,
    "retrieve/metadata-filter-new-document": third_document,
    "retrieve/metadata-filter-quote": built_in_metadata,
    "retrieve/metadata-filter-two-names-or": built_in_metadata,
    "retrieve/metadata-filter-unknown-name": built_in_metadata,
    "retrieve/qa-model": questions_with_answers,
    "metadata/document-after-enable": built_in_metadata,
    "provisioning/dataset-api-key-limit": ten_keys,
}


def tagged(knowledge: Knowledge) -> Scene:
    """One tag, without a dataset."""
    knowledge.service("POST", "/datasets/tags", json={"name": "合同标签"})
    return Scene(knowledge)


SCENES |= {f"datasets/tags-{name}": tagged for name in ("list", "console-list", "console-delete")}


def scene_of(case: str, knowledge: Knowledge) -> Scene:
    """Build a case's state."""
    build = SCENES.get(case) or AREA_SCENES.get(case.partition("/")[0], nothing)
    return build(knowledge)


def adapted(value: Any, scene: Scene) -> Any:
    """A recorded request's query or body with the sandbox's own ids and models."""
    if isinstance(value, dict):
        return {key: adapted(item, scene) for key, item in value.items()}
    if isinstance(value, list):
        return [adapted(item, scene) for item in value]
    if not isinstance(value, str):
        return value
    return (
        value.replace("大观园.txt", "第二份.txt")
        .replace("bge-m3:latest", "sandbox-bm25")
        .replace("langgenius/ollama/ollama", "route-api/sandbox/sandbox")
        if not _is_lab_id(value)
        else scene.document
    )


def _is_lab_id(value: str) -> bool:
    return len(value) == 36 and value.count("-") == 4 and value != UNKNOWN_ID
