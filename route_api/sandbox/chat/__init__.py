"""Questions and answers: conversations, messages, and the console's debugger."""
