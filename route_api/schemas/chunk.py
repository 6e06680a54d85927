"""Chunks and retrieval: parameters and answers. Source: the API document, "召回测试" and "文件切片"."""

from .answers import Empty, OrNull, answer
from .base import Parameters
from .document import DOCUMENT_ROW
from .fields import Choice, Flag, Id, Ids, NoEffect, PageSize, Question, Ratio, Text, Whole, page_number
from .kb import DEFAULT_TOP_K, DEFAULT_VECTOR_WEIGHT, MAX_TOP_K, SEARCH_METHODS

MAX_CHUNK_IDS = 1000
"""Number of chunks that one request may switch."""

QUESTION_LENGTH = 4000
"""Maximum length of a search question, in characters."""

PAGED_TOP_K = 100
"""Passages that are ranked where a caller gives `size` and no `top_k`."""


class Retrieval(Parameters):
    """Parameters of `chunk/retrieval_test`."""

    kb_id = Id(required=True)
    question = Question(max_length=QUESTION_LENGTH)
    top_k = Whole(
        minimum=1,
        maximum=MAX_TOP_K,
        metadata={"description": f"passages to rank; {DEFAULT_TOP_K}, or {PAGED_TOP_K} where `size` is given"},
    )
    search_method = Choice(
        SEARCH_METHODS, metadata={"description": "`semantic_search`; an economy kb has keywords only"}
    )
    score_threshold_enabled = Flag(load_default=False)
    similarity_threshold = Ratio(load_default=0.2, metadata={"description": "least score, if the switch above is on"})
    vector_similarity_weight = Ratio(
        load_default=DEFAULT_VECTOR_WEIGHT, metadata={"description": "share of meaning in hybrid search"}
    )
    page = page_number()
    size = Whole(
        minimum=1, maximum=MAX_TOP_K, metadata={"description": "passages per page; all on one page by default"}
    )
    doc_ids = Ids(
        max_items=20, empty=True, load_default=list, metadata={"description": "search in these documents only"}
    )
    use_kg = NoEffect("Dify has no knowledge graph")
    highlight = NoEffect("the passages come without marks")


class ChunkPage(Parameters):
    """Parameters of `chunk/list`."""

    kb_id = Id(required=True)
    doc_id = Id(required=True)
    page = page_number()
    size = PageSize(load_default=100, rows="chunks")
    keywords = Text(
        max_length=200,
        blank=True,
        trim=True,
        load_default="",
        metadata={"description": "what the text must contain; blanks around it are ignored"},
    )


class ChunkSwitch(Parameters):
    """Parameters of `chunk/switch`."""

    kb_id = Id(required=True)
    doc_id = Id(required=True)
    chunk_ids = Ids(max_items=MAX_CHUNK_IDS, required=True)
    available_int = Whole(
        minimum=0, maximum=1, required=True, metadata={"description": "1 enable, 0 disable", "example": 0}
    )


class SegmentSwitch(Parameters):
    """Chunks of the PATCH route: `segment_id`, repeated in the query as in Dify's console, or a list in the body."""

    other_names = {"segment_ids": "segment_id", "chunk_ids": "segment_id"}

    segment_id = Ids(
        max_items=MAX_CHUNK_IDS,
        required=True,
        metadata={"description": "one id, or several; or `segment_ids`, or `chunk_ids`"},
    )


CHUNK_ROW = {
    "available_int": 1,
    "chunk_id": "ae0c9559-49cf-4500-ba0e-02bbd58ec7ef",
    "content_with_weight": "从百草园到三味书屋",
    "doc_id": "1ead7466-dd54-4caf-a0a4-dd1e3174901f",
    "docnm_kwd": "从百草园到三味书屋.txt",
    "image_id": "",
    "important_kwd": OrNull(Empty("百草园"), is_shown=False),
    "positions": Empty([1]),
    "question_kwd": Empty("百草园在哪里？"),
}
RECORD = {
    "answer": OrNull("在姑苏城阊门外。"),
    "content": "贾宝玉和林黛玉的爱情在《红楼梦》中如何作为故事的推进主线？",
    "document": {"id": "59f95774-31fc-4e05-a691-eb89f1b5be22", "name": "红楼梦解析"},
    "score": 0.668397,
}
RETRIEVED_CHUNK = {**CHUNK_ROW, "similarity": 0.668397, "term_similarity": 0.668397, "vector_similarity": 0.668397}
RETRIEVAL = {
    "query": "文章主旨是什么, 是宝黛爱情吗？",
    "records": [RECORD],
    "chunks": [RETRIEVED_CHUNK],
    "doc_aggs": [{"count": 1, "doc_id": "59f95774-31fc-4e05-a691-eb89f1b5be22", "doc_name": "红楼梦解析"}],
    "total": 1,
}

RetrievalAnswer = answer("RetrievalAnswer", RETRIEVAL, message="知识库检索成功!")
ChunkListAnswer = answer("ChunkListAnswer", {"chunks": [CHUNK_ROW], "doc": DOCUMENT_ROW, "total": 20})
ChunkSwitchAnswer = answer("ChunkSwitchAnswer", "", message="Chunks disable successful!")
