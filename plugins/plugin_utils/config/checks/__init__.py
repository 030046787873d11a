"""Checks across keys of the site config: within one site, and between all sites of a host."""
