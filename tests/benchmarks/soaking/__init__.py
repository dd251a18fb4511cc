"""A daemon under load and harm for a long time; see `benchmarks.soak`."""
