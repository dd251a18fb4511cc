"""Service managers: what keeps asrd running here, what it is told, and what it says."""
