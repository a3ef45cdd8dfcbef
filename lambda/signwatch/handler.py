"""The entry point that Lambda calls. Its environment is described in settings.py."""

from __future__ import annotations

import os
from typing import Any

from signwatch.dependencies import Dependencies
from signwatch.pipeline import process
from signwatch.settings import Settings


def handler(event: object, context: Any) -> dict[str, Any]:
    """Judge each event and send an alert if needed. Raises any error, so that Lambda retries."""
    settings = Settings.load(os.environ)
    dependencies = Dependencies.make(settings, context)
    # Without the list, Lambda might not take the answer to a queue's message for success.
    return {"batchItemFailures": [], **process(event, dependencies)}
