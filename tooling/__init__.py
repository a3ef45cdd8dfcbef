"""What the tasks of tasks.py do, in plain Python that knows no task runner outside ``terminal``."""
