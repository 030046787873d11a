"""What no key of the site config tells alone: one site as a whole, and all of a host's together."""
