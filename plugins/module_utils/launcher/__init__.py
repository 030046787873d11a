"""The launcher: the small root program that supervisor starts for a slot, and that becomes the server.

It is installed as one file, `/usr/local/lib/sites/launcher`, and needs nothing but the system's Python: it has to work
whatever state releases and venvs are in. It starts as root, reads root's files only, and gives up root before a line of
the site's code runs.
"""
