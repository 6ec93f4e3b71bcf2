"""Sends what was made from the definitions to Datadog: new objects are created, ours are updated, and an object that
was changed in Datadog is left alone unless that is forced.

Metadata comes first, then monitors, SLOs and the board, so that the board shows all of it at once. One object after the
other, each reported as soon as it is done; a second run does what the first one left. No thread; `api` waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..errors import WsnovaError
from .datadog import Json
from .marks import Mark, digest, edits, mark_of, marked, unchanged_since, unmarked

if TYPE_CHECKING:
    from .push import Api, Kind

_SHOWN: Final = 3  # keys that were changed; the rest is counted


class PushFailed(WsnovaError):
    """Datadog did not accept a request, or was not reached."""


class NotTaken(PushFailed):
    """Datadog refused the content of one document: a retry will not help, and other documents may be right."""


@dataclass(slots=True)
class Push:
    """One run: `tell` is called with a line for each object. `refused` counts what was left alone; `dry`: send none."""

    api: Api
    tell: Callable[[str], object]
    force: bool = False
    dry: bool = False
    done: int = 0
    refused: int = 0
    later: list[str] = field(default_factory=list)  # metrics that Datadog has not seen yet

    def metadata(self, documents: Mapping[str, Json]) -> None:
        """Describe metrics. What was written in Datadog is not ours to change."""
        for metric, document in documents.items():
            try:
                self._describe(metric, document)
            except NotTaken as error:
                self._refuse("metadata", metric, f"was not accepted: {error}")

    def _describe(self, metric: str, document: Json) -> None:
        found = self.api.metadata(metric)
        if found is None:
            self.later.append(metric)
            self.tell(_line("later", "metadata", f"{metric}: Datadog has not seen it yet"))
            return
        missing = [key for key in document if found.get(key) in (None, "")]
        changed = [key for key in edits(document, found) if key not in missing]
        if not changed and not missing:
            self._report("unchanged", "metadata", metric)
        elif changed and not self.force:
            self._refuse("metadata", metric, f"has another {_named(changed)}; use --force to overwrite it")
        else:
            if not self.dry:
                self.api.describe(metric, {key: document[key] for key in (*missing, *changed)})
            self._report("overwritten" if changed else "updated", "metadata", metric)

    def objects(self, kind: Kind, documents: Mapping[str, Json]) -> None:
        """Create or update objects of one kind, each under the name that its mark has."""
        known: dict[str, list[Json]] = defaultdict(list)
        titles: dict[str, list[Json]] = defaultdict(list)
        for one in self.api.all_of(kind):
            mark = mark_of(one, by_tag=kind.by_tag)
            if mark is not None:
                known[mark.name].append(one)
            else:
                titles[str(one.get(kind.title))].append(one)
        for name, document in documents.items():
            title = document[kind.title]
            try:
                self._object(kind, name, document, known[name], titles[title])
            except NotTaken as error:
                self._refuse(kind.name, title, f"was not accepted: {error}")
            except PushFailed as error:
                raise PushFailed(f"{kind.name} {title}: {error}") from None

    def _object(self, kind: Kind, name: str, document: Json, ours: list[Json], others: list[Json]) -> None:
        title = document[kind.title]
        if len(ours) > 1:
            named = " and ".join(f"{one.get(kind.title)} ({one['id']})" for one in ours)
            self._refuse(kind.name, title, f"exists more than once: {named} have the mark {name}; delete one of them")
        elif ours:
            self._known(kind, name, document, ours[0])
        elif others:
            self._refuse(
                kind.name, title, f"is the title of {others[0]['id']}, which is not ours; rename it, or delete it"
            )
        else:
            made = "" if self.dry else self.api.create(kind, marked(name, document, by_tag=kind.by_tag))
            self._report("created", kind.name, title, made)

    def _known(self, kind: Kind, name: str, document: Json, listed: Json) -> None:
        """There is an object with our mark: leave it, replace it by the current document, or refuse to."""
        found = self.api.read(kind, listed)
        mark = mark_of(found, by_tag=kind.by_tag) or Mark(name, "")
        plain, title, object_id = unmarked(found, by_tag=kind.by_tag), document[kind.title], found["id"]
        current, changed = mark.digest == digest(document), list(edits(document, plain))
        if current and not changed:
            self._report("unchanged", kind.name, title, object_id)
            return
        foreign = bool(changed) and (current or not unchanged_since(mark.digest, plain, document))
        if foreign and not self.force:
            whose = "" if current else ", or made by another version"
            why = f"was changed in Datadog{whose}: {_named(changed)}; use --force to overwrite that"
            self._refuse(kind.name, f"{title} ({object_id})", why)
            return
        if not self.dry:
            self.api.update(kind, object_id, marked(name, document, by_tag=kind.by_tag))
        self._report("overwritten" if foreign else "updated", kind.name, title, object_id)

    def _report(self, what: str, kind: str, title: str, object_id: object = "") -> None:
        self.done += 1
        would = f"would be {what}" if self.dry and what != "unchanged" else what
        self.tell(_line(would, kind, f"{title} ({object_id})" if object_id else title))

    def _refuse(self, kind: str, title: str, why: str) -> None:
        self.refused += 1
        self.tell(_line("refused", kind, f"{title} {why}"))


def _line(what: str, kind: str, text: str) -> str:
    return f"{what:<11} {kind:<9} {text}"


def _named(keys: list[str]) -> str:
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
