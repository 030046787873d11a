"""What bench/deploy is made of: the cases, the hosts, the runs, and the report."""
