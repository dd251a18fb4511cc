"""Whole screens of `asrd status` and `asrd top`: from what a daemon tells to lines. Pure."""
