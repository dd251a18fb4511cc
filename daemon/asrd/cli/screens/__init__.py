"""What `asrd status` and `asrd top` show: looks made lines, and the terminal as a stage."""
