"""System checks: every invalid setting, before anything starts."""

from __future__ import annotations

from typing import Any

from django.core.checks import Error

from .clients import site


def check_settings(app_configs: Any, **options: Any) -> list[Any]:
    """An error for each invalid setting; `manage.py check`, `runserver` and `migrate` show them."""
    return [Error(problem, id="wsnova_statsd.E001") for problem in site().problems()]
