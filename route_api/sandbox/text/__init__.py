"""Text in, text out: extraction from files, splitting into chunks, sentences, search tokens. Pure functions."""
