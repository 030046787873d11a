"""What the modules for nginx and supervisor share: whose a file is, how it is placed, and what a daemon has read."""
