"""Tells the life of one invoice and of the intents about it, in the order of time: what a failing run prints."""

import datetime as dt
import json
from typing import Any

from engine.model.canonical import to_plain
from tests.simulation.evidence import Evidence
from tests.simulation.verdict import Fault


def story(evidence: Evidence, fault: Fault) -> str:
    """Everything that the ERP, the AR side and arsync did about a fault's invoice and intent."""
    _, invoice, intent = fault
    intents = {intent} if intent else set()
    if invoice is None and intent is not None and intent in evidence.asked:
        invoice = next(iter(evidence.parts(evidence.asked[intent].intent)), None)
    for name, item in evidence.asked.items():
        if invoice is not None and invoice in item.positions:
            intents.add(name)
    keys = {evidence.key(name): name for name in intents if name in evidence.asked}
    lines = [
        *_of_the_erp(evidence, invoice, keys),
        *_of_the_ar_side(evidence, intents),
        *_of_arsync(evidence, invoice, intents, keys),
        *((at, "arsync", f"dies: {point}") for at, point in evidence.world.crashes),
    ]
    lines.sort(key=lambda line: line[0])
    return "\n".join(f"  {at:%H:%M:%S.%f}  {who:8}{what}" for at, who, what in lines)


Line = tuple[dt.datetime, str, str]


def _of_the_erp(evidence: Evidence, invoice: str | None, keys: dict[str, str]) -> list[Line]:
    lines: list[Line] = []
    for moment in evidence.books.history.get(invoice, []) if invoice else []:
        facts, by = moment.facts, f" for {keys.get(moment.key, moment.key)}" if moment.key else ""
        now = "it is gone"
        if facts is not None:
            applied = ", ".join(f"{line.item}: {line.amount} {keys.get(line.text or '', line.text)}"
                                f"{'' if line.final else ' not posted'}" for line in facts.lines)  # fmt: skip
            due = [str(day) for day in facts.schedule]
            now = (f"{facts.phase}, {facts.balance} of {facts.total} open, customer {facts.customer}"
                   f"{', blocked' if facts.blocked else ''}, due {due}; [{applied}]")  # fmt: skip
        lines.append((moment.at, "ERP", f"@{moment.lsn} {moment.who}: {moment.why}{by}: {now}"))
    for call in evidence.calls:
        if call.key in keys:
            why = f" ({call.fault})" if call.fault else ""
            lines.append((call.at, "API", f"{call.verb} for {keys[call.key]}: {call.said} {call.reason or ''}{why}"))
    return lines


def _of_the_ar_side(evidence: Evidence, intents: set[str]) -> list[Line]:
    lines: list[Line] = []
    for name in intents & set(evidence.asked):
        item = evidence.asked[name]
        lines.append(
            (item.at, "AR", f"asks, knowing positions {item.positions}: {json.dumps(to_plain(item.intent))}")
        )
    return lines


def _of_arsync(evidence: Evidence, invoice: str | None, intents: set[str], keys: dict[str, str]) -> list[Line]:
    lines: list[Line] = []
    conflicts = {
        str(one["id"])
        for one in evidence.conflicts
        if one["intent"] in intents or f"invoice/{invoice}" in one["documents"]
    }
    for _, _, _, _, _, at, kind, body, _, _ in evidence.journal():
        entry = json.loads(body)
        said = [
            text for effect in entry["effects"] if (text := _effect(effect, {invoice, *intents}, keys, conflicts))
        ]
        if said:
            where = f" @{entry['input']['commit']}" if kind == "change" else f" (has read to @{evidence.known(at)})"
            lines.append((at, "arsync", f"{kind}{where}: " + "; ".join(said)))
    return lines


def _effect(
    effect: dict[str, Any], subjects: set[str | None], keys: dict[str, str], conflicts: set[str]
) -> str | None:
    match effect["type"]:
        case "moved" if effect["subject"] in (*subjects, *keys):
            subject = keys.get(effect["subject"], effect["subject"])
            reason = f" ({effect['reason']})" if effect["reason"] else ""
            step = f"{effect['source']} -> {effect['destination']}{reason}"
            return f"{effect['machine']} {subject} {effect['trigger']}: {step}"
        case "planned" if effect["command"] in keys:
            return f"plans revision {effect['revision']} for {keys[effect['command']]}"
        case "echoed" if effect["command"] in keys:
            return f"sees {effect['amount']} more of {keys[effect['command']]} on {effect['invoice']}"
        case "raised" if effect["conflict"] in conflicts:
            return f"conflict {effect['kind']} ({effect['choice']}): {effect['sentence']}"
    return None
