"""One Lambda execution environment on this machine. Uses the standard library alone."""
