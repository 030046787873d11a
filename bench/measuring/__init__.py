"""The parts of bench/deploy: the cases, the hosts, the runs and the report."""
