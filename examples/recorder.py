"""Record a feed: one JSON line for each message, with the time it came, in compressed files of an hour.

    python recorder.py wss://feed.example/ws data trades.BTC trades.ETH

It speaks the dialect of JsonProtocol; give the client another one. Where the link was lost, or the disk took nothing, a
line says from when to when, so that whoever reads the data sees each gap. SIGTERM and Ctrl-C end it in order.
"""

import argparse
import gzip
import itertools
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import wsnova_statsd as ws

FLUSH_EVERY = 1.0  # seconds; what `kill -9` or a power cut may cost
HOUR = 3600
log = logging.getLogger("recorder")


class Recording:
    """The files of one folder. Its methods run in the client's thread, and `end` when that has ended."""

    def __init__(self, folder, metrics, clock=time.time):
        self.folder, self.metrics, self.clock = Path(folder), metrics, clock
        self.file = None
        self.hour = 0
        self.flushed = 0.0
        self.complete_until = clock()  # of what has come since then, some is not written
        self.disk_failed = False

    def message(self, message):
        """One message. Raises OSError if it cannot be written; the client counts that, and goes on."""
        self.write({"message": message})

    def link_is_back(self):
        """What the feed sent since the last message is lost."""
        self.write({"gap": [self.complete_until, self.clock()], "why": "link"})

    def write(self, line):
        now = self.clock()
        try:
            if self.file is None or now // HOUR != self.hour:
                self.begin(now)
            if self.disk_failed:
                self.put(now, {"gap": [self.complete_until, now], "why": "disk"})
            self.put(now, line)
            if now - self.flushed >= FLUSH_EVERY:
                self.file.flush()
                self.flushed = now
        except OSError:
            self.disk_failed = True
            self.metrics.increment("recorder.lost")
            self.end()  # the next message begins another file
            raise
        self.disk_failed = False
        self.complete_until = now

    def put(self, now, line):
        data = json.dumps({"at": round(now, 6), **line}, separators=(",", ":")).encode() + b"\n"
        self.file.write(data)
        self.metrics.increment("recorder.lines")
        self.metrics.increment("recorder.bytes", len(data))

    def begin(self, now):
        """A file of this hour, never one that is there: the end of that may be cut off."""
        self.end()
        self.folder.mkdir(parents=True, exist_ok=True)
        hour = time.strftime("%Y-%m-%dT%H", time.gmtime(now))
        names = (self.folder / f"{hour}.{number}.jsonl.gz" for number in itertools.count(1))
        path = next(name for name in names if not name.exists())
        self.file = gzip.open(path, "xb", compresslevel=6)  # noqa: SIM115  # it stays open for an hour
        self.hour = now // HOUR
        log.info("recording to %s", path)

    def end(self):
        """Complete the file, and have it on the disk."""
        file, self.file = self.file, None
        try:
            if file is not None:
                file.flush()
                os.fsync(file.fileno())
                file.close()
        except OSError as error:
            log.error("the last second of a file is lost: %s", error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("url", None), ("folder", None), ("channels", "*")):
        parser.add_argument(name, nargs=number)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    monitor, told, refused = ws.init("financial"), threading.Event(), []
    recording = Recording(given.folder, monitor)
    options = {"client_id": "recorder", "subscriptions": given.channels, "on_reconnect": recording.link_is_back}
    options["on_error"] = lambda fault: isinstance(fault, ws.errors.SubscriptionRejected) and refused.append(fault)
    client = ws.Client(given.url, on_message=recording.message, **options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    client.start(wait=False)
    error = None
    while error is None and not told.wait(1.0):
        ended = client.health()["error"] if client.state is ws.State.CLOSED else None  # a login that is refused, say
        error = refused[0] if refused else ended
    client.close()
    recording.end()
    monitor.stop()
    return None if error is None else f"the recorder ended: {error}"


if __name__ == "__main__":
    sys.exit(main())
