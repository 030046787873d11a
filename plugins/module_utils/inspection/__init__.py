"""What is on a host already: reads only, and works on a bare host."""
