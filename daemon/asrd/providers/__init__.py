"""Plugins, loaded models, and the child processes they live in."""
