"""One stream from samples to utterances, and the sessions that hold streams; pure."""
