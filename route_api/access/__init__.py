"""Access control: authentication, authorization, users who log in, and limits on each caller."""
