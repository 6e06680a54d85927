"""The console's account, its sessions, and the API keys: who may call the sandbox."""
