"""Running sites: supervisor programs, processes, jobs, locks, and the history of runs."""
