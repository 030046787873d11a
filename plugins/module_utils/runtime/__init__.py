"""What runs: supervisor's programs, processes, jobs, locks and the history of runs."""
