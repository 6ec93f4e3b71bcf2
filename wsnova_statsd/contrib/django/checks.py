"""System checks: every setting that is not usable, before anything starts."""

from __future__ import annotations

from typing import Any

from django.core.checks import Error

from .clients import site


def check_settings(app_configs: Any, **options: Any) -> list[Any]:
    """An error for each; `manage.py check`, `runserver` and `migrate` show them."""
    return [Error(problem, id="wsnova_statsd.E001") for problem in site().problems()]
