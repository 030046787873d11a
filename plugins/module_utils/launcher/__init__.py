"""The launcher: the small root program that supervisor starts for a slot, and that becomes the server.

It is installed as one file, `/usr/local/lib/sites/launcher`, and needs only the system's Python, so that it works
whatever state releases and venvs are in. It starts as root, reads only root's files, and drops root before any code of
the site runs.
"""
