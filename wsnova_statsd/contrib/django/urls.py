"""The health page: `path("health/", include("wsnova_statsd.contrib.django.urls"))`, with `live` below it."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .clients import site

__all__ = ["app_name", "health", "urlpatterns"]


def health(request: Any, *, live: bool = False) -> Any:
    """200 with `status` ok or degraded; 503 if a client is closed or forked or, unless `live`, disconnected for too
    long."""
    status, text = site().health(live=live)
    return HttpResponse(text, status=status, content_type="application/json")


app_name = "wsnova_statsd"
_view = require_safe(never_cache(health))
urlpatterns: list[Any] = [path("", _view, name="health"), path("live", _view, {"live": True}, name="live")]
