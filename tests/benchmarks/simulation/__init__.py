"""What the simulator is made of: engines, arrivals, streams, the world they meet in, figures."""
