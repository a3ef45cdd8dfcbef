"""The entry that Lambda calls. Its environment keys are listed in settings.ENVIRONMENT_KEYS."""

from __future__ import annotations

import os
from typing import Any

from signwatch.dependencies import Dependencies
from signwatch.pipeline import process
from signwatch.settings import Settings


def handler(event: object, context: Any) -> dict[str, str]:
    """Judge one EventBridge event and tell the owner if need be; an error is raised, so that Lambda tries again."""
    settings = Settings.load(os.environ)
    dependencies = Dependencies.make(settings, context)
    return process(event, dependencies)
