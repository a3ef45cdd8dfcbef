"""What a person sees of a task: progress, tables, errors and exit codes."""
