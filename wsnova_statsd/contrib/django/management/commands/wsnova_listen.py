"""`manage.py wsnova_listen NAME...`: runs clients of the settings in the foreground, as a worker."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from .....errors import ConfigurationError, WsnovaError
from ...clients import site

if TYPE_CHECKING:
    BaseCommand = object  # Django has no types
else:
    from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Runs until SIGTERM or Ctrl-C."""

    help: str = (
        "Runs the named clients of WSNOVA_STATSD_CLIENTS, or all, until SIGTERM (status 0) or Ctrl-C (130). A client "
        "that ends by itself ends the command with status 1; an unknown name with status 2, a "
        "setting that the system checks refuse with status 1."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="a client's name in WSNOVA_STATSD_CLIENTS")
        parser.add_argument("--health-file", metavar="PATH", help="touched every 5 s while the clients' threads live")

    def handle(self, *arguments: Any, **options: Any) -> None:
        try:
            status = site().listen(options["names"], options["health_file"])
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=2) from error
        except WsnovaError as error:
            raise CommandError(str(error)) from error
        if status:
            sys.exit(status)
