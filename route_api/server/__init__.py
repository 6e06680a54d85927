"""Changes to libraries that the server runs with: each with its reason and its measured gain."""
