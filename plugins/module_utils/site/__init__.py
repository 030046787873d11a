"""A site on its host: paths, user, maintenance, SITE-ctl, setup and removal."""
