"""Read-only inspection of a host, bare hosts included."""
