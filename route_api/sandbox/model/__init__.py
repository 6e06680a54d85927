"""The models of the sandbox: the list of models, the extractive model, and a language model behind OpenAI's API."""
