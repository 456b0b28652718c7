"""From blocks to figures: pure. Rates are payments (invoices paid) a second."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from benchmarks.writeback.plan import Side, Size, Way


class Measured(msgspec.Struct, frozen=True):
    """One block as it went. `seconds` is to the end (for arsync: the last confirmation), `accepted` to the last
    answer of Tryton, `call` what handing the intents in took; `sends` are the seconds of single sends, of the bare
    loop."""

    side: Side
    way: Way
    payments: int
    seconds: float
    accepted: float
    call: float = 0.0
    sends: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        return self.payments / self.seconds


def figures(size: Size, measured: Sequence[Measured], differences: Sequence[str]) -> dict[str, Any]:
    """The benchmark's last line. A figure of what was not measured is None."""
    line: dict[str, Any] = {
        "benchmark": "writeback",
        "intents": size.intents,
        "receipts": size.receipts,
        "lines": size.lines,
        "rounds": size.rounds,
    }
    for way in Way:
        of = {side: [one for one in measured if (one.side, one.way) == (side, way)] for side in Side}
        bare, arsync = (_rate(of[side]) for side in Side)
        answered = _rate(of[Side.ARSYNC], to_answer=True)
        line |= {
            f"bare_{way}": bare,
            f"arsync_{way}": arsync,
            f"ratio_{way}": _ratio(arsync, bare),
            f"arsync_{way}_answered": answered,
            f"ratio_{way}_answered": _ratio(answered, bare),
            f"ratios_{way}": [_ratio(a.rate, b.rate) for b, a in zip(*of.values(), strict=True)],
        }
    sends = [second for one in measured if one.way is Way.WIZARD for second in one.sends]
    calls = [one.call for one in measured if one.side is Side.ARSYNC]
    line |= {
        "bare_wizard_p50_ms": round(1000 * median(sends), 1) if sends else None,
        "submit_seconds": round(sum(calls), 3),
        "verified": not differences,
        "differences": list(differences),
    }
    return line


def _rate(blocks: Sequence[Measured], *, to_answer: bool = False) -> float | None:
    seconds = sum(one.accepted if to_answer else one.seconds for one in blocks)
    return round(sum(one.payments for one in blocks) / seconds, 3) if blocks else None


def _ratio(arsync: float | None, bare: float | None) -> float | None:
    return round(arsync / bare, 3) if arsync is not None and bare else None
