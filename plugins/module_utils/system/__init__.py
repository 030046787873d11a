"""The host's kernel interfaces: processes, control groups, ports, memory and privileges."""
