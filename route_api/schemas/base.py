"""Base classes of the schemas of all resources, and the words for what is wrong with parameters."""

from typing import Any, ClassVar

from marshmallow import EXCLUDE, Schema, pre_load

from ..languages import Sentence, quoted
from .fields import Given, PageSize, Text, page_number

CACHE_BUSTER = "_"
"""jQuery adds this parameter, with the time, against caches (`cache: false`)."""


class Parameters(Schema):
    """Parameters of a request.

    :cvar other_names: further names of parameters, such as `{"query": "message"}`. The description of the field must
        tell them. Where both come, the parameter's own name wins.
    :ivar known_names: the names that this endpoint reads, or is known to ignore. `views/unread_parameters.py` tells the
        caller of all others.
    """

    has_parameters: ClassVar[bool] = True
    other_names: ClassVar[dict[str, str]] = {}

    class Meta:
        unknown = EXCLUDE

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.known_names = frozenset({*self.fields, *self.other_names, CACHE_BUSTER})

    @pre_load
    def _rename(self, data: Any, **_: Any) -> Any:
        for other, name in self.other_names.items():
            if other in data and self.is_nothing(name, data.get(name)):
                data = {**data, name: data[other]}
        return data

    def is_nothing(self, name: str, value: Any) -> bool:
        """Whether this value of a parameter means that the parameter is not given."""
        field = self.fields.get(name)
        return field.is_nothing(value) if isinstance(field, Given) else value is None


class Page(Parameters):
    """Parameters of a list: the page and a search word."""

    page = page_number()
    page_size = PageSize()
    keywords = Text(
        max_length=200,
        blank=True,
        trim=True,
        load_default="",
        metadata={"description": "what the name must contain; blanks around it are ignored"},
    )


def describe_problems(messages: Any, path: str = "") -> list[Sentence]:
    """Turn marshmallow's messages into sentences that begin with the field's name, such as `kb_id is required.`"""
    if isinstance(messages, str):
        problem = quoted(messages)
        return [Sentence("{field} {problem}", field=path, problem=problem) if path else problem]
    if isinstance(messages, list):
        return [sentence for message in messages for sentence in describe_problems(message, path)]
    sentences: list[Sentence] = []
    for key, inner in messages.items():
        inner_path = path if key == "_schema" else f"{path}[{key}]" if isinstance(key, int) else str(key)
        sentences += describe_problems(inner, inner_path)
    return sentences
