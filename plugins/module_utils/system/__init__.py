"""What a host's kernel and processes say: processes, control groups, ports, memory, users."""
