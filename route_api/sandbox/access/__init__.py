"""Who may call the sandbox: the console's account and its sessions, and the API keys."""
