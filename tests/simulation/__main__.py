"""`python -m tests.simulation`: plays a seed, and says whether every promise was kept.

The last line is one JSON object. Exit code 0: nothing false, missed, lost or twice; 1: something was, each with the
command that plays it again and the story of the document; 2: wrong arguments.
"""

import argparse
import json
import signal
import sys

from tests.simulation.playing import PROTECTIONS, Total, cluster, play_all


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="any number; the same one plays the same lives")
    parser.add_argument("--invoices", type=int, default=3000, help="how many invoices the ERP has at least")
    parser.add_argument("--json", action="store_true", help="print nothing but faults and the last line")
    parser.add_argument("--without", action="append", choices=PROTECTIONS, default=[], help="switch a protection off")
    parser.add_argument("--world", type=int, help="play only this world of the run")
    parser.add_argument("--jobs", type=int, default=2, help="worlds that are played side by side")
    asked = parser.parse_args(arguments)
    if asked.invoices < 1 or asked.jobs < 1:
        parser.error("--invoices and --jobs must be 1 or more")
    # Whoever ends it early finds nothing left behind: the cluster is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    total = Total(asked.seed, asked.invoices)
    with cluster() as opened:
        for played in play_all(
            opened, asked.seed, asked.invoices, without=frozenset(asked.without), jobs=asked.jobs, only=asked.world
        ):
            total.add(played)
            for _, sentence in played.faults:
                print(sentence)
            if played.faults:
                print(f"again: {_again(asked, played.number)}")
            elif not asked.json:
                print(f"world {played.number}: {played.inputs} inputs, {sum(played.conflicts.values())} conflicts")
    print(json.dumps(total.summary()), flush=True)
    return 0 if total.whole else 1


def _again(asked: argparse.Namespace, world: int) -> str:
    without = "".join(f" --without {name}" for name in asked.without)
    return (
        f"python -m tests.simulation --seed {asked.seed} --invoices {asked.invoices} --world {world} --json{without}"
    )


if __name__ == "__main__":
    sys.exit(main())
