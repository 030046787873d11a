"""Lock files, and the environment of pip and uv."""
