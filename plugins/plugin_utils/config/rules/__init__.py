"""Rules for values of the site config, beyond their types."""
