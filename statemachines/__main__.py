"""`python -m statemachines [DOCUMENT]`: prints the machines as Markdown, or writes them between its markers."""

import sys
from pathlib import Path

from statemachines import MACHINES
from statemachines.drawing import as_markdown, redraw


def main(arguments: list[str]) -> None:
    """Print, or write into the one document that is named."""
    if not arguments:
        sys.stdout.write(as_markdown(MACHINES.values()) + "\n")
        return
    document = Path(arguments[0])
    document.write_text(redraw(document.read_text("utf-8"), MACHINES.values()), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
