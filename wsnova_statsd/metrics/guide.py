"""The WebSockexNova Telemetry Guide's own metrics and dashboard queries, as the guide writes them, faults included.

From "Integration with Monitoring Systems": the nine definitions of "Prometheus Integration" in their order, and the
four queries of "Grafana Dashboard" by their titles. Data only: the reporters' lists are in catalogue.py and
prometheus_list.py, and the dashboard linter checks these queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .. import events
from .definitions import Definition, counter, distribution, summary

_LINK = ["client_id", "uri"]
_KIND = ["client_id", "type"]
_MS = ("native", "millisecond")

DEFINITIONS: Final[tuple[Definition, ...]] = (
    counter(f"{events.CONNECTION_STARTED}.count", tags=_LINK),
    distribution(f"{events.CONNECTION_COMPLETED}.duration", tags=_LINK, unit=_MS, buckets=[10, 100, 500, 1000, 5000]),
    counter(f"{events.MESSAGE_RECEIVED}.count", tags=_KIND),
    counter(f"{events.MESSAGE_SENT}.count", tags=_KIND),
    summary(f"{events.MESSAGE_RECEIVED}.size", tags=_KIND),
    summary(f"{events.MESSAGE_SENT}.size", tags=_KIND),
    distribution(f"{events.MESSAGE_PROCESS_COMPLETED}.duration", tags=_KIND, unit=_MS),
    counter(f"{events.ERROR_OCCURRED}.count", tags=["client_id", "error_type"]),
    counter(f"{events.SUBSCRIPTION_SUBSCRIBE_COMPLETED}.count", tags=["client_id", "channel"]),
)

QUERIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Connection Success Rate": """\
sum(rate(websockex_nova_connection_completed_count[5m])) /
sum(rate(websockex_nova_connection_started_count[5m]))
""",
        "Average Connection Time": """\
avg(websockex_nova_connection_completed_duration_milliseconds_sum /
websockex_nova_connection_completed_duration_milliseconds_count)
""",
        "Message Throughput": """\
sum(rate(websockex_nova_message_received_count[1m])) by (client_id, type)
""",
        "Error Rate": """\
sum(rate(websockex_nova_error_occurred_count[5m])) by (error_type)
""",
    }
)
