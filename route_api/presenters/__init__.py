"""Dify's JSON and our rows -> the JSON of our answers, one file per kind of answer. Pure functions.

This is where Dify's dataset, document and segment become kb, document and chunk. Keys and types are those of the
examples in the API document. Keys that only RAGFlow's own UI reads are added where the types do not clash.
"""
