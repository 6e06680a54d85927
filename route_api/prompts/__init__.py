"""A question, its passages and the history -> the prompt for a Dify app; a model's text -> thinking and content.

Pure functions, one subject per file: `builder` builds the prompt of a turn, `templates` reads the operator's texts,
`variables` knows the input variables of an app, `history` writes earlier turns as text, `thinking` separates a model's
thinking from its answer.
"""
