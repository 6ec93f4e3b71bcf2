"""The events of a client as log records: the guide's log handler, with text for people and fields for machines."""

import logging
import sys

import wsnova_statsd as ws
from wsnova_statsd.testing.server import WebSocketServer, send_messages


class Fields(logging.Formatter):
    """The text, and some fields of the record; a JSON formatter writes every field separately."""

    def format(self, record):
        return f"{record.levelname} {record.getMessage()} [{record.event_name} client_id={record.client_id}]"


shown = logging.StreamHandler(sys.stdout)
shown.setFormatter(Fields())
logger = logging.getLogger("feed")
logger.addHandler(shown)
logger.setLevel(logging.DEBUG)


def handle(message):
    if message["type"] == "last":
        client.close()


messages = ['{"type": "trade"}', "no JSON", '{"type": "last"}']
# level="INFO" logs no messages, and costs nothing for them
with WebSocketServer(send_messages(messages)) as feed, ws.LogReporter(logger, level="DEBUG"):
    client = ws.Client(feed.url, client_id="md-1", profile="financial", on_message=handle)
    client.start()
    client.wait(timeout=10)
