"""Proves the journal of a demo, once the daemon has ended: in the store, and out of an archive somewhere else.

`demo.verb` and `demo.chaos` call it. Both proofs must find no fault and come to the same digest.
"""

from dataclasses import dataclass
from typing import Any

from demo.engine import Engine
from demo.ledger import Difference


@dataclass(frozen=True, slots=True)
class Proof:
    """What proving came to: how many entries there are, the digests of all records and of the normal form (which does
    not depend on kills and lost answers), and what is wrong."""

    entries: int
    decided: int
    digest: str
    normal: str
    differences: list[Difference]

    def __str__(self) -> str:
        word = "does not verify" if self.differences else "verifies"
        return (
            f"The journal {word}: {self.entries} entries, {self.decided} decided again, digest {self.digest[:16]}, "
            f"normal form {self.normal[:16]}"
        )


def prove(engine: Engine) -> Proof:
    """Verify the journal twice."""
    return compared(*engine.prove())


def compared(here: dict[str, Any], there: dict[str, Any], normal: dict[str, Any]) -> Proof:
    """Hold the two verifications against each other; each is what `arsync replay verify --json` says of a system, and
    `normal` what `arsync replay normal --json` does."""
    wrong = [
        Difference(f"journal {place}, {fault['entry']}", fault["field"] or "entry", str(fault["again"] or "sound"),
                   str(fault["recorded"] or fault["sentence"]))
        for place, found in (("here", here), ("elsewhere", there)) for fault in found["faults"]
    ]  # fmt: skip
    wrong += [
        Difference("journal elsewhere", name, str(here[name]), str(there[name]))
        for name in ("entries", "decided", "batch", "digest")
        if here[name] != there[name]
    ]
    if not here["entries"] or here["decided"] != here["entries"]:
        wrong.append(Difference("journal here", "decided again", str(here["entries"]), str(here["decided"])))
    return Proof(here["entries"], here["decided"], here["digest"], normal["digest"], wrong)
