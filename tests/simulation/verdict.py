"""What the oracle found against arsync: each with a sentence, and the invoice and intent that it is about."""

import dataclasses

Fault = tuple[str, str | None, str | None]
"""(sentence, invoice, intent)"""


@dataclasses.dataclass
class Verdict:
    """`false`: conflicts without a cause. `missed`: disagreements that nobody was told of. `lost` and `twice`: facts,
    steps and effects that are not there, or are there too often."""

    false: list[Fault] = dataclasses.field(default_factory=list)
    missed: list[Fault] = dataclasses.field(default_factory=list)
    lost: list[Fault] = dataclasses.field(default_factory=list)
    twice: list[Fault] = dataclasses.field(default_factory=list)

    def faults(self) -> list[tuple[str, Fault]]:
        """All of them, with their kind."""
        named = (("false", self.false), ("missed", self.missed), ("lost", self.lost), ("twice", self.twice))
        return [(kind, fault) for kind, faults in named for fault in faults]
