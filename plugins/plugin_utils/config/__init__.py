"""The site config: read, merged and checked on the controller."""
