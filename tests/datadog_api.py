"""A stand-in for Datadog's API over HTTP: dashboards, monitors, SLOs and the metadata of metrics, as the real one has
them. It adds ids, authors, dates and defaults to what it gets, pages its lists, and fails when a test says so.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
API_KEY: Final = "0123456789abcdef0123456789abcdef"
APP_KEY: Final = "0123456789abcdef0123456789abcdef01234567"
_AUTHOR: Final = {"handle": "ops@example.com", "name": "Ops"}
# What it sets if nothing was passed; `{}` and None too, as the real one does.
_MONITOR_OPTIONS: Final = {"silenced": {}, "new_host_delay": 300, "notify_audit": False, "locked": False}
_WIDGET: Final = {"title_size": "16", "title_align": "left", "legend_layout": "auto", "time": {}, "custom_links": []}
_DASHBOARD: Final[Json] = {"notify_list": None, "template_variable_presets": [], "is_read_only": False, "tags": []}


class DatadogApi:
    """One organisation. `metrics` has the metadata of the metrics that it has seen, `requests` what was requested,
    `bodies` what was sent."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {"dashboard": {}, "monitor": {}, "slo": {}}
        self.metrics: dict[str, Json] = {}
        self.requests: list[str] = []
        self.bodies: list[Any] = []
        self.fails: Callable[[str, str], int | str | None] = lambda method, path: None
        self.hanging = threading.Event()  # set: what hangs ends
        self.page_limit = 100  # objects of a page, for any requested number
        self._numbers = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url: str = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["DatadogApi"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.hanging.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def seen(self, *metrics: str) -> None:
        """It has got these metrics, and knows nothing of them but their type."""
        self.metrics |= {name: {"type": None, "description": None, "unit": None, "per_unit": None} for name in metrics}

    def fail(self, how: int | str, method: str, path: str, after: int = 0) -> None:
        """Answer requests of this kind, except for the first `after`, with this status, `break` off, `lose` the answer
        to what was done, `hang`, or with this text as the body of a 200."""
        left = itertools.count(-after)
        self.fails = lambda *asked: how if asked == (method, path) and next(left) >= 0 else None

    @property
    def writes(self) -> list[str]:
        return [one for one in self.requests if not one.startswith("GET")]

    # -- how it answers requests --------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        kind, _, object_id = path.partition("/")
        if kind == "metrics":
            return self._metadata(method, object_id, body)
        if kind not in self.objects:
            return 404, {"errors": ["Not Found"]}
        known = self.objects[kind]
        if method == "GET" and not object_id:
            return 200, self._page(kind, query)
        if method == "POST":
            return self._made(kind, body)
        if object_id not in known:
            return 404, {"errors": [f"{kind} {object_id} not found"]}
        if method == "PUT":
            refused = self._refusal(kind, body)
            if refused:
                return 400, {"errors": [refused]}
            known[object_id] = self._completed(kind, body, known[object_id]["id"])
        return 200, {"data": known[object_id], "errors": None} if kind == "slo" else known[object_id]

    def _metadata(self, method: str, metric: str, body: Any) -> tuple[int, Any]:
        if metric not in self.metrics:
            return 404, {"errors": ["metric_name not found"]}
        if method == "PUT":
            self.metrics[metric] |= body
        return 200, {**self.metrics[metric], "integration": None, "short_name": None}

    def _made(self, kind: str, body: Json) -> tuple[int, Any]:
        refused = self._refusal(kind, body)
        if refused:
            return 400, {"errors": [refused]}
        number = next(self._numbers)
        object_id: Any = number if kind == "monitor" else f"abc-{number:03}-xyz"
        made = self.objects[kind][str(object_id)] = self._completed(kind, body, object_id)
        return 200, {"data": [made], "errors": []} if kind == "slo" else made

    def _refusal(self, kind: str, body: Json) -> str | None:
        if kind == "dashboard":
            bad = [tag for tag in body.get("tags") or [] if not tag.startswith("team:")]
            return f"Tags can only have the key team, not {bad}" if bad else None
        if kind == "monitor" and body["type"] == "query alert":
            written, limit = float(body["query"].split()[-1]), body["options"]["thresholds"]["critical"]
            return (
                None if written == limit else f"Alert threshold ({limit}) does not match that of the query ({written})"
            )
        return None

    def _completed(self, kind: str, body: Json, object_id: Any) -> Json:
        dates = {"created_at": 1700000000, "modified_at": 1700000001}
        if kind == "monitor":
            options = {**_MONITOR_OPTIONS, **body["options"]}
            return {
                "id": object_id,
                "creator": _AUTHOR,
                "multi": True,
                "overall_state": "OK",
                **body,
                "options": options,
            }
        if kind == "slo":
            shown = [{**one, "target_display": f"{one['target']}"} for one in body["thresholds"]]
            return {"id": object_id, "creator": _AUTHOR, "monitor_tags": [], **dates, **body, "thresholds": shown}
        variables = [{"available_values": [], **one} for one in body["template_variables"]]
        known = {
            "id": object_id,
            "author_handle": "ops@example.com",
            "url": f"/dashboard/{object_id}",
            **_DASHBOARD,
            **dates,
        }
        return {**known, **body, "template_variables": variables, "widgets": list(map(self._widget, body["widgets"]))}

    def _widget(self, widget: Json) -> Json:
        definition = {**_WIDGET, **widget["definition"]}
        if "widgets" in definition:
            definition["widgets"] = list(map(self._widget, definition["widgets"]))
        return {"id": next(self._numbers), **widget, "definition": definition}

    def _page(self, kind: str, query: dict[str, str]) -> Any:
        listed = list(self.objects[kind].values())
        if kind == "monitor":
            size = min(int(query.get("page_size", "100")), self.page_limit)
            start = int(query.get("page", "0")) * size
            return listed[start : start + size] if "page" in query else listed
        names = ("start", "count") if kind == "dashboard" else ("offset", "limit")
        start, size = (int(query.get(name, default)) for name, default in zip(names, ("0", "100"), strict=True))
        page = listed[start : start + min(size, self.page_limit)]
        if kind == "slo":
            return {"data": page, "errors": [], "metadata": {"page": {"total_count": len(listed)}}}
        return {"dashboards": [{key: one[key] for key in ("id", "title", "description", "url")} for one in page]}

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _go(self) -> None:
                parts = urlsplit(self.path)
                path = parts.path.removeprefix("/api/v1/")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                method = str(self.command)
                api.requests.append(f"{method} {path}")
                if body:
                    api.bodies.append(json.loads(body))
                query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
                how = api.fails(method, path.partition("/")[0])
                right = self.headers["DD-API-KEY"] == API_KEY and self.headers["DD-APPLICATION-KEY"] == APP_KEY
                if how == "hang":
                    api.hanging.wait(10)
                elif how in ("break", "lose"):
                    if how == "lose":
                        api.answer(method, path, query, json.loads(body))
                    self._send(200, b'{"id": 1', declared=100)
                elif isinstance(how, str):
                    self._send(200, how.encode())
                elif isinstance(how, int):
                    self._send(how, json.dumps({"errors": ["Too many requests" if how == 429 else "Failed"]}).encode())
                elif not right:
                    self._send(403, b'{"errors": ["Forbidden"]}')
                else:
                    status, answer = api.answer(method, path, query, json.loads(body) if body else None)
                    self._send(status, json.dumps(answer).encode())

            def _send(self, status: int, data: bytes, declared: int | None = None) -> None:
                self.send_response(status)
                if status == 429:
                    self.send_header("X-RateLimit-Reset", "17")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data) if declared is None else declared))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _go  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
