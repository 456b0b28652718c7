"""Which intents a policy refuses and holds by itself, and which policies are refused when they are read."""

from decimal import Decimal
from pathlib import Path

import pytest

from engine.app.config import load_config
from engine.model.intents import ApplyReceipt
from engine.ports.errors import ConfigError
from tests.rules.payment_script import Script


@pytest.mark.parametrize(
    ("changes", "kind", "state"),
    [({"customer": "8"}, "customer_mismatch", "refused"), ({"currency": "USD"}, "precondition_failed", "held")],
)
def test_what_the_erp_says_otherwise_of_is_told(changes: dict[str, str], kind: str, state: str) -> None:
    script = Script()
    script.ask(ApplyReceipt(**{**script.about("a1"), **changes}, receipt="BANK"))
    assert (script.intent("a1")[0], script.conflicts) == (state, [kind])
    (found,) = script.view.conflicts.values()
    assert (found.amount, found.default_choice) == (Decimal("100.00"), "hold" if state == "held" else "accept_erp")


EXEMPT = "[[systems.x.policy.exemptions]]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[systems.x.policy.choices]\nvoided_target = "rebase"\n', "a policy cannot rebase a conflict voided_target"),
        (f'{EXEMPT}choice = "retry"\n', "name the kinds that it is for"),
        (f'{EXEMPT}choice = "hold"\nover = "5"\n', "means nothing without its currency"),
        (f'{EXEMPT}choice = "hold"\ncurrency = "EUR"\nover = "5"\nup_to = "5"\n', "leave nothing between them"),
        (f'{EXEMPT}choice = "hold"\ncurrency = "EUR"\nover = "-5"\n', "amounts, zero or more"),
        (f'{EXEMPT}choice = "hold"\nkinds = ["moon"]\n', "moon"),
    ],
)
def test_a_policy_that_means_nothing_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "arsync.toml"
    file.write_text(f'[systems.x]\nconnector = "tryton"\n{text}')
    with pytest.raises(ConfigError, match=said):
        load_config(str(file))
