"""A site on its host: paths, users, maintenance, SITE-ctl."""
