"""Who decodes next, and how many at a time; pure."""
