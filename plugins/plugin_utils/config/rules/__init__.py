"""What a value of the site config may be, beyond its type."""
