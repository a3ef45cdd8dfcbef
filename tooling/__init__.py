"""What the words of tasks.py do: plain Python that knows no task runner, one noun a module."""
