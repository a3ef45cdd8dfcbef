"""Starts the tasks; ``./inv`` runs this file by path, in the environment ``.venv``.

The arguments are the name by which ``./inv`` was called, and what follows it. If Invoke is missing,
the environment is broken although its stamp is current. Its Python was upgraded, for example, and
looks for packages in another folder. Without the stamp, ``./inv`` makes the environment anew.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is slow to import

del sys.argv[0]
sys.path.append(ROOT)
try:
    import tasks
except ModuleNotFoundError as error:
    if error.name != "invoke":
        raise
    from tooling import environment

    environment.remove_stamp("tasks")
    os.execv(os.path.join(ROOT, "inv"), sys.argv)  # noqa: PTH118, S606 - as above; no shell is meant
tasks.main()
