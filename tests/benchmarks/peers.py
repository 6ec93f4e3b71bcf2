"""The peers and their setting, in one place, so that every benchmark treats them alike."""

from __future__ import annotations

from typing import Any

from datadog.dogstatsd.base import DogStatsd

TAGS = ["client:bench", "type:trade"]
TAGS_OK = [*TAGS, "result:ok"]


class _ClosingDogStatsd(DogStatsd):
    """Its socket is closed with it."""

    def __del__(self) -> None:
        self.close_socket()


def dogstatsd(port: int, *, buffered: bool = True, **options: Any) -> DogStatsd:
    """A datadogpy client without its self-telemetry, which would only cost it time and packets."""
    return _ClosingDogStatsd(
        host="127.0.0.1",
        port=port,
        disable_buffering=not buffered,
        disable_telemetry=True,
        origin_detection_enabled=False,
        **options,
    )
