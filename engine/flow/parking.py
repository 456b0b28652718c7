"""Keeps what the pipeline could not process, and says when it is too much in a row.

One bad record, or one bad document, stops nothing but itself: it is a dead letter, and its document is parked with
its last readable state. Too many in a row mean that source or mapping is broken as a whole: then the source stops,
and nothing of that batch is acknowledged.
"""

from collections.abc import Iterable
from typing import Any

import structlog

from engine.flow.batch import Told
from engine.model.canonical import canonical_bytes
from engine.model.change import Row, Unreadable
from engine.store import letters
from engine.store.letters import LetterKind
from engine.store.unit import Unit as Work

log = structlog.get_logger()


class BrakeError(RuntimeError):
    """Too much in a row could not be read: something is wrong with the source or the mapping as a whole."""


class Parking:
    """One pipeline's count of what it could not process."""

    def __init__(self, system: str, brake: int, most_letters: int, lettered: Iterable[str]) -> None:
        """More than `brake` in a row, or more than `most_letters` open letters about them, stop the source.

        `lettered`: the documents, as `kind/key`, about which a letter is open.
        """
        self._system = system
        self._brake = brake
        self._most_letters = most_letters
        self._records_in_a_row = 0
        self._documents_in_a_row = 0
        self._papers_in_a_row = 0
        self._lettered = set(lettered)

    def take_record(self, work: Work, item: Unreadable) -> None:
        """Keep a record that could not be decoded.

        Raises:
            BrakeError: it is one too many.
        """
        self._records_in_a_row += 1
        self._keep(work, LetterKind.CHANGE, item.origin, item.reason, item.payload, key=item.key)
        log.warning("unreadable record kept", system=self._system, origin=item.origin, reason=item.reason)
        if self._records_in_a_row > self._brake:
            raise BrakeError(
                f"system {self._system}: more than {self._brake} records in a row could not be read, the last from "
                f"{item.origin}: {item.reason}; mend the source, then start again: nothing is lost"
            )

    def records_are_readable(self) -> None:
        """A transaction could be read: what was unreadable before was no series."""
        self._records_in_a_row = 0

    def take_documents(self, work: Work, assembled: Iterable[Told], *, retried: bool = False) -> None:
        """Keep what could not be assembled, with the rows at fault; what is readable again needs its letter no more.

        What is `retried` by hand says nothing about the stream, and counts for no series.

        Raises:
            BrakeError: it is one too many.
        """
        readable: set[str] = set()
        for told in assembled:
            name = f"{told.root[0]}/{told.root[1]}"
            if told.trouble is None:
                readable.add(name)
                self._documents_in_a_row = 0 if not retried else self._documents_in_a_row
                continue
            readable.discard(name)
            self._documents_in_a_row += not retried
            payload = canonical_bytes(told.rows).decode()
            self._keep(work, LetterKind.DOCUMENT, "mapping", told.trouble, payload, document=name)
            self._lettered.add(name)
            log.warning("document parked", system=self._system, document=name, reason=told.trouble)
            if self._documents_in_a_row > self._brake:
                raise BrakeError(
                    f"system {self._system}: more than {self._brake} documents in a row could not be read, the last "
                    f"{name}: {told.trouble}; mend the mapping or the ERP's tables, then start again: nothing is lost"
                )
        healed = readable & self._lettered
        letters.heal(work.cursor, self._system, work.now, healed)
        self._lettered -= healed

    def take_paper(
        self, work: Work, name: str, trouble: str | None, rows: dict[str, dict[str, Row]], *, retried: bool = False
    ) -> None:
        """Keep the row of an order or an entry that could not be read; one that can be needs its letter no more.

        `name` is its table and key. These are a series of their own.

        Raises:
            BrakeError: it is one too many.
        """
        if trouble is None:
            self._papers_in_a_row = 0 if not retried else self._papers_in_a_row
            if name in self._lettered:
                letters.heal(work.cursor, self._system, work.now, [name])
                self._lettered.discard(name)
            return
        self._papers_in_a_row += not retried
        self._keep(work, LetterKind.DOCUMENT, "mapping", trouble, canonical_bytes(rows).decode(), document=name)
        self._lettered.add(name)
        log.warning("row kept that cannot be read", system=self._system, row=name, reason=trouble)
        if self._papers_in_a_row > self._brake:
            raise BrakeError(
                f"system {self._system}: more than {self._brake} orders or entries in a row could not be read, the "
                f"last {name}: {trouble}; mend the mapping or the ERP's tables, then start again: nothing is lost"
            )

    def _keep(self, work: Work, kind: LetterKind, origin: str, reason: str, payload: str, **more: Any) -> None:
        letters.keep(work.cursor, self._system, work.now, kind, origin=origin, reason=reason, payload=payload, **more)
        if letters.count_open(work.cursor, self._system) > self._most_letters:
            raise BrakeError(
                f"system {self._system}: more than {self._most_letters} dead letters are open; work them with "
                "`arsync deadletters`, then start again: nothing is lost"
            )
