"""Very many paced streams, each on a connection of its own, from processes that do nothing else."""
