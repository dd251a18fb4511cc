"""The parts of the benchmark `streaming`."""
