"""The parts of bench/run: one module for each experiment, and their shared code."""

import project  # noqa: F401 - makes the collection's modules importable, as for the tests
