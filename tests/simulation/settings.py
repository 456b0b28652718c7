"""What kind of ERP a world has, and how hostile everything in it is. Chosen by the world's seed."""

import dataclasses
import datetime as dt
from random import Random

from engine.model.records import ConflictKind
from engine.ports.target import Capabilities
from engine.rules.policy import Choice, Policy

CAN_SEND = dt.timedelta(seconds=10)
IN_DOUBT = dt.timedelta(seconds=60)
SETTLE = dt.timedelta(seconds=90)


@dataclasses.dataclass(frozen=True)
class Temper:
    """An ERP's ways.

    `compares`: it refuses a write whose tokens are out of date; where it cannot, the target compares just before.
    `strict`: it refuses more money than is open; a lax one takes it and owes the rest. `steps`: it records a receipt
    in one transaction and applies it in the next. `queues`: an accepted write is carried out later. `clears_later`:
    a sum of zero is cleared by a job of its own. `finals_later`: clearing is final in the ledger later.
    `drafts`: a receipt is applied first and posted in a step of its own. `late`: how often a timed-out write is done
    after all.
    """

    name: str
    compares: bool = True
    strict: bool = True
    steps: bool = False
    queues: bool = False
    clears_later: bool = False
    finals_later: bool = False
    drafts: bool = False
    late: float = 0.3


TEMPERS = (
    Temper("tryton", finals_later=True, drafts=True),
    Temper("odoo", compares=False, strict=False),
    Temper("erpnext", compares=False, strict=False, finals_later=True),
    Temper("netsuite", late=0.8),
    Temper("sap", queues=True, clears_later=True, finals_later=True),
    Temper("workday", steps=True),
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One world's settings: its ERP, how its changes are told, and what policy arsync has.

    `borders`: transaction borders are announced. `gaps`: the change stream is lost now and then and a new snapshot
    takes its place, so that what happened meanwhile is only seen in what it left. `silences`: how often it stands
    still for longer than an echo may take, `outages`: how often the store goes away, `choices`: how often people
    choose about a conflict. `plain_numbers`: an invoice's number is a plain figure, often another one's key.
    """

    number: int
    invoices: int
    temper: Temper
    dates: str
    borders: bool
    gaps: bool
    policy_name: str
    faults: float
    crashes: float
    silences: float
    outages: float
    choices: float
    plain_numbers: bool

    @property
    def policy(self) -> Policy:
        return Policy(
            choices={ConflictKind(kind): choice for kind, choice in POLICIES[self.policy_name].items()},
            settle_time=SETTLE,
            unknown_for=dt.timedelta(seconds=120),
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            compare_and_set=self.temper.compares,
            find_by_key=True,
            in_doubt_for=IN_DOUBT,
            settle_time=SETTLE,
            deadline=CAN_SEND,
        )


_ALL = tuple(str(kind) for kind in ConflictKind)
POLICIES: dict[str, dict[str, Choice]] = {
    "default": {},
    "stale is held": {"stale_basis": Choice.HOLD},
    "the ERP is right": dict.fromkeys(_ALL, Choice.ACCEPT_ERP),
    "people choose": dict.fromkeys(_ALL, Choice.HOLD),
    "what can be is rebased": dict.fromkeys(_ALL, Choice.REBASE),
}


def stage_for(seed: int, number: int, invoices: int) -> Stage:
    """The settings of a seed's world. Every kind of ERP comes in turn, everything else by dice."""
    dice = Random(f"stage/{seed}/{number}")
    policies = [name for name in POLICIES for _ in range(4 if name == "default" else 1)]
    return Stage(
        number=number,
        invoices=invoices,
        temper=TEMPERS[(seed + number) % len(TEMPERS)],
        dates=dice.choice(("days", "iso", "micros")),
        borders=dice.random() < 0.7,
        gaps=dice.random() < 0.2,
        policy_name=dice.choice(policies),
        faults=dice.choice((0.1, 0.25, 0.5)),
        crashes=dice.choice((0.0, 0.002, 0.006, 0.015)),
        silences=dice.choice((0.0, 0.0, 0.004)),
        outages=dice.choice((0.0, 0.0, 0.01)),
        choices=dice.choice((0.0, 0.02, 0.06)),
        plain_numbers=dice.random() < 0.4,
    )
