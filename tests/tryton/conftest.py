"""One Tryton for each file of tests that needs one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.tryton import rpc
from demo.erp import DemoErp
from demo.holding_proxy import HoldingProxy
from tests.tryton.bench import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    with (
        DemoErp(tmp_path_factory.mktemp("erp"), cache, print) as erp,
        erp.accountant() as accountant,
        rpc.Session(erp.url, erp.database, erp.user, erp.password) as session,
        HoldingProxy(erp.url) as proxy,
    ):
        made = Bench(erp, accountant, session, proxy)
        yield made
        made.target.close()
