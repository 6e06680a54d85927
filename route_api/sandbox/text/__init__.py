"""Functions of text alone: extraction from files, splitting into chunks, sentences, search tokens, token estimates."""
