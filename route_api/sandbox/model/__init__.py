"""The models that answer: our extractive model, and a language model behind an OpenAI-compatible API."""
