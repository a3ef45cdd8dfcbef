"""Tasks for a stack that is already running."""
