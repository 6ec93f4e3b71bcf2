"""Record a feed: one JSON line per message, with the time it arrived, in compressed files of an hour each.

    python recorder.py wss://feed.example/ws data trades.BTC trades.ETH

The client uses JsonProtocol; pass another protocol for another dialect. After a lost connection or a disk error, a line
says from when to when data is missing, so the gap is part of the data. SIGTERM and Ctrl-C end the program in order.
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

FLUSH_EVERY = 1.0  # seconds; the most that `kill -9` or a power cut can lose
HOUR = 3600
log = logging.getLogger("recorder")


class Recording:
    """The files of one folder. The methods run in the client's thread; `end` also runs after that has ended."""

    def __init__(self, folder, metrics, clock=time.time):
        self.folder, self.metrics, self.clock = Path(folder), metrics, clock
        self.file = None
        self.hour = 0
        self.flushed = 0.0
        self.complete_until = clock()  # some of what arrived since then is not written
        self.disk_failed = False

    def message(self, message):
        """Write one message. Raises OSError if that fails; the client counts the error, and goes on."""
        self.write({"message": message})

    def link_is_back(self):
        """Write the gap: what the feed sent since the last message is lost."""
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
            self.end()  # the next message begins a new file
            raise
        self.disk_failed = False
        self.complete_until = now

    def put(self, now, line):
        data = json.dumps({"at": round(now, 6), **line}, separators=(",", ":")).encode() + b"\n"
        self.file.write(data)
        self.metrics.increment("recorder.lines")
        self.metrics.increment("recorder.bytes", len(data))

    def begin(self, now):
        """Begin a file of this hour, never an existing one: that may be cut off at its end."""
        self.end()
        self.folder.mkdir(parents=True, exist_ok=True)
        hour = time.strftime("%Y-%m-%dT%H", time.gmtime(now))
        names = (self.folder / f"{hour}.{number}.jsonl.gz" for number in itertools.count(1))
        path = next(name for name in names if not name.exists())
        self.file = gzip.open(path, "xb", compresslevel=6)  # noqa: SIM115  # stays open for an hour
        self.hour = now // HOUR
        log.info("recording to %s", path)

    def end(self):
        """Complete the file, and sync it to the disk."""
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
    monitor, stop, refused = ws.init("financial"), threading.Event(), []
    recording = Recording(given.folder, monitor)
    options = {"client_id": "recorder", "subscriptions": given.channels, "on_reconnect": recording.link_is_back}
    options["on_error"] = lambda fault: isinstance(fault, ws.errors.SubscriptionRejected) and refused.append(fault)
    client = ws.Client(given.url, on_message=recording.message, **options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    client.start(wait=False)
    error = None
    while error is None and not stop.wait(1.0):
        ended = client.health()["error"] if client.state is ws.State.CLOSED else None  # for example, a refused login
        error = refused[0] if refused else ended
    client.close()
    recording.end()
    monitor.stop()
    return None if error is None else f"the recorder ended: {error}"


if __name__ == "__main__":
    sys.exit(main())
