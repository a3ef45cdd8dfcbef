"""Runs a packaged function as Lambda does, on this machine, with the standard library alone."""
