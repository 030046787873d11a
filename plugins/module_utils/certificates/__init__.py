"""A site's certificate on its host."""
