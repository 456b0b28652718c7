"""Random orders of what an ERP, an accountant, the AR side and a failing dispatcher do: every promise in any order.

Each step is a name with three small numbers that choose among what is at hand, so that any list of steps is a story.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.model.commands import command_key
from engine.model.events import Timer, TimerFired
from engine.model.records import CommandRecord, ConflictKind
from engine.rules.policy import Choice, Policy
from tests.rules.judged_sync import Sync, with_choices

FAULTS = ("", "", "", "throttled", "rejected", "lost_before", "lost_after", "late", "late", "half", "draft",
          "split", "refused_after", "elsewhere")  # fmt: skip
HARMLESS = ("", "", "throttled", "lost_before", "lost_after", "late", "half", "draft", "split")
AMOUNTS = tuple(Decimal(text) for text in ("40.00", "60.00", "25.00", "100.00", "30.00", "110.00"))
TEN = Decimal("10.00")
POLICIES = {
    "default": Policy(),
    "stale is held": with_choices(stale_basis=Choice.HOLD),
    "the ERP is right": with_choices(**dict.fromkeys(map(str, ConflictKind), Choice.ACCEPT_ERP)),
    "people choose": with_choices(**dict.fromkeys(map(str, ConflictKind), Choice.HOLD)),
    "what cannot be done": with_choices(**dict.fromkeys(map(str, ConflictKind), Choice.REBASE)),
}


class Pick(NamedTuple):
    """Three numbers from 0 to 7."""

    a: int
    b: int
    c: int


Step = Callable[[Sync, Pick], None]
Story = list[tuple[str, int, int, int]]


def at(sync: Sync, *states: str) -> list[CommandRecord]:
    return [c for _, c in sorted(sync.view.commands.items()) if c.state in states or not states]


def bill(place: int) -> str:
    return str((1, 2, 3, 1, 2, 3, 1, 4)[place % 8])


def submit(sync: Sync, pick: Pick) -> None:
    """One or two invoices; now and then an old basis, a number for the key, an id again, or what cannot be."""
    a, b, c = pick
    name = f"i{len(sync.asked)}" if c != 7 or not sync.asked else f"i{a % len(sync.asked)}"
    first = bill(a)
    keys = [first, {"1": "3", "3": "1"}[first]] if b > 5 and first in "13" else [first]
    numbered = sync.view.numbers.get(f"INV{first}") is not None
    named = [f"INV{first}", *keys[1:]] if c == 5 and numbered else keys
    if (b, c) == (0, 6) and numbered:
        named = [first, f"INV{first}"]
    parts = [(key, AMOUNTS[(b + place) % len(AMOUNTS)], int(c == 4)) for place, key in enumerate(named)]
    customer = "9" if (b, c) == (7, 3) else sync.erp.bills[first].customer
    sync.submit(name, parts, customer=customer, currency="USD" if (b, c) == (7, 2) else "EUR")


def submit_ten(sync: Sync, pick: Pick) -> None:
    """A small payment on what was told last."""
    if len(sync.asked) < 8:
        keys = ["1", "3"] if pick.b == 7 else [bill(pick.a % 3)]
        customer = sync.erp.bills[keys[0]].customer
        sync.submit(f"i{len(sync.asked)}", [(key, TEN, 0) for key in keys], customer=customer, currency="EUR")


def claim(faults: tuple[str, ...]) -> Step:
    """A worker takes a command; now and then it comes to the ERP, and its answer back, before anything else."""

    def step(sync: Sync, pick: Pick) -> None:
        for command in at(sync, "pending")[pick.a % 3 : pick.a % 3 + 1] or at(sync)[pick.b : pick.b + 1]:
            busy = len(sync.errands)
            sync.claim(command.key)
            if len(sync.errands) > busy and pick.c % 2:
                sync.perform(sync.errands[-1], faults[(pick.a + pick.b * 8) % len(faults)])
                if pick.c > 4:
                    sync.bring(-1)

    return step


def perform(faults: tuple[str, ...]) -> Step:
    def step(sync: Sync, pick: Pick) -> None:
        if sync.errands:
            sync.perform(sync.errands[pick.a % len(sync.errands)], faults[(pick.b * 8 + pick.c) % len(faults)])

    return step


def bring(sync: Sync, pick: Pick) -> None:
    if sync.mail:
        sync.bring(pick.a, keep=pick.b == 7)


def go_on(sync: Sync, pick: Pick) -> None:
    for command in at(sync, "unknown", "part_done")[pick.a % 3 : pick.a % 3 + 1]:
        sync.go_on(command)
        if pick.c % 2:
            sync.bring(-1)


def expire(sync: Sync, pick: Pick) -> None:
    for command in at(sync)[pick.a : pick.a + 1]:
        sync.expire(command.key)


def fire(timer: Timer) -> Step:
    def step(sync: Sync, pick: Pick) -> None:
        subjects = sorted(sync.view.intents) if timer is Timer.STILL_UNKNOWN else sorted(sync.view.commands)
        if subjects:
            sync.play(TimerFired(timer, subjects[pick.a % len(subjects)], sync.now))

    return step


NOISE: dict[str, Step] = {
    "bring": bring,
    "go on": go_on,
    "read": lambda sync, p: sync.read(1 + p.b // 6),
    "snapshot": lambda sync, _: sync.snapshot(),
    "repeat": lambda sync, _: sync.repeat(),
    "crash": lambda sync, _: sync.crash(),
    "lease": expire,
    "late": lambda sync, p: sync.erp.end_late(done=p.b < 5),
    "retry": fire(Timer.RETRY_STALE),
    "touch": lambda sync, p: sync.erp.touch(bill(p.a)),
    "rewrite": lambda sync, p: sync.erp.rewrite(bill(p.a)),
}
QUIET_STEPS: dict[str, Step] = {**NOISE, "claim": claim(HARMLESS), "perform": perform(HARMLESS), "submit": submit_ten}
STEPS: dict[str, Step] = {
    **NOISE,
    "claim": claim(FAULTS),
    "perform": perform(FAULTS),
    "submit": submit,
    "overdue": fire(Timer.ECHO_OVERDUE),
    "still unknown": fire(Timer.STILL_UNKNOWN),
    "pay": lambda sync, p: sync.erp.pay_by_hand(bill(p.a), AMOUNTS[p.b % len(AMOUNTS)]),
    "bounce": lambda sync, p: sync.erp.bounce(bill(p.a), p.b),
    "due date": lambda sync, p: sync.erp.move_due_date(bill(p.a)),
    "amount": lambda sync, p: sync.erp.change_amount(bill(p.a), (TEN, -TEN)[p.b % 2]),
    "block": lambda sync, p: sync.erp.block(bill(p.a)),
    "cancel": lambda sync, p: sync.erp.cancel(bill(p.a)),
    "uncancel": lambda sync, p: sync.erp.uncancel(bill(p.a)),
    "post": lambda sync, p: sync.erp.post_clearing(bill(p.a)),
    "open": lambda sync, _: sync.erp.open("4"),
}
OFTEN = ("submit", "claim", "perform", "bring", "read")
SMALL = st.integers(0, 7)


def stories(steps: dict[str, Step]) -> st.SearchStrategy[Story]:
    names = [*OFTEN * (len(steps) // 6), *steps]
    return st.lists(st.tuples(st.sampled_from(names), SMALL, SMALL, SMALL), min_size=40, max_size=100)


def profile(examples: int) -> settings:
    """The same stories every time, so that a failure is one for everybody."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        report_multiple_bugs=False,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def judge_end(sync: Sync) -> None:
    """When nothing is under way any more: what became of each intent is what the ERP holds."""
    assert sync.erp.wrongs == []
    assert all(len(writes) == 1 for writes in sync.erp.booked.values()), "booked twice under one key"
    for command in at(sync, "pending", "sent", "unknown", "stale", "accepted", "part_done"):
        pytest.fail(f"{command.key} is {command.state} for ever")
    for name in sync.asked:
        judge_intent(sync, name)


def judge_intent(sync: Sync, name: str) -> None:
    intent, record, key = sync.asked[name], sync.view.intents[name], command_key("erp", name, 0)
    kinds = {str(c.kind): c.state for c in sync.view.conflicts.values() if c.intent == name}
    command = sync.view.commands.get(key)
    promised = [(part.invoice, part.amount) for part in command.write.allocations] if command else []
    stands = [sync.erp.bills[invoice].shown(key) for invoice, _ in promised]
    whole = bool(promised) and stands == [amount for _, amount in promised]
    if record.state == "done":
        assert [amount for _, amount in promised] == [part.amount for part in intent.allocations]
        assert key in sync.erp.booked
        moot = ("echo_missing", "erp_rejected", "partly_done")
        assert not any(kinds.get(kind) == "held" for kind in moot), "done, and people are still asked about it"
        assert whole or {"erp_reversed", "echo_mismatch"} & set(kinds), "done, and not there"
        assert all(sync.erp.bills[invoice].is_final(key) for invoice, _ in promised), "done, and not posted"
    elif record.state == "refused":
        telling = {"late_effect", "echo_mismatch"} | (set() if whole else {"partly_done"})
        assert not any(stands) or telling & set(kinds), "refused, and yet there"
    elif record.state == "held":
        assert "held" in kinds.values(), "held, and nobody is asked"
        assert not whole or "echo_mismatch" in kinds, "held, and yet there"
    else:
        assert record.state == "waiting"
        names = [sync.view.numbers.get(part.invoice, part.invoice) for part in intent.allocations]
        assert not set(names) <= set(sync.view.invoices)
    assert record.state == "done" or record.reason


def any_story(policy: str, story: Story) -> Sync:
    sync = Sync(POLICIES[policy])
    for name, a, b, c in story:
        STEPS[name](sync, Pick(a, b, c))
    sync.drain()
    judge_end(sync)
    return sync


def quiet_story(story: Story) -> None:
    """Nobody changes a fact: whatever fails, and in whatever order things come, all is done and nobody is called."""
    sync = Sync(Policy(), total="1000.00")
    for name, a, b, c in story:
        QUIET_STEPS[name](sync, Pick(a, b, c))
    sync.drain()
    judge_end(sync)
    assert list(sync.view.conflicts.values()) == []
    assert {record.state for record in sync.view.intents.values()} <= {"done"}


@profile(400)
@given(st.sampled_from(list(POLICIES)), stories(STEPS))
def test_every_promise_holds_in_any_order(policy: str, story: Story) -> None:
    any_story(policy, story)


@profile(200)
@given(stories(QUIET_STEPS))
def test_noise_alone_calls_nobody_and_loses_nothing(story: Story) -> None:
    quiet_story(story)


@pytest.mark.prove
@profile(8000)
@given(st.sampled_from(list(POLICIES)), stories(STEPS))
def test_every_promise_holds_in_any_order_at_length(policy: str, story: Story) -> None:
    any_story(policy, story)


@pytest.mark.prove
@profile(3000)
@given(stories(QUIET_STEPS))
def test_noise_alone_calls_nobody_and_loses_nothing_at_length(story: Story) -> None:
    quiet_story(story)
