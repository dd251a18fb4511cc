"""The work of `asrd bench`: what is measured, what follows from it, and how it is shown."""
