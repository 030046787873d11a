"""Lock files, and how pip and uv run."""
