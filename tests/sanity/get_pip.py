"""Installs pip for ansible-test from Python's bundled copy instead of a download."""

import ensurepip
import os
import runpy
import sys

ensurepip.bootstrap()
# Newer versions of pip trust the system's certificates by default.
bundle = "/etc/ssl/certs/ca-certificates.crt"
trust = ["--cert", bundle] if os.path.exists(bundle) else []
options = [option for option in sys.argv[1:] if option not in ("--no-setuptools", "--no-wheel")]
sys.argv = ["pip", "install", *trust, *options]
runpy.run_module("pip", run_name="__main__")
