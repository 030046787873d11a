"""What bench/run is made of: one module for each experiment, and what they share."""

import project  # noqa: F401 - makes the bundle's own modules importable, here as for the tests
