"""The command line: ``python -m saeuron COMMAND --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .cli import download, drawing, files, judging, reproduce, training
from .errors import SaeuronError
from .json_text import format_json


def main(words: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 where something was wrong, which is said in one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m saeuron", description="Unlearn concepts with sparse autoencoders.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for group in (files, drawing, judging, download, reproduce, training):
        group.add_commands(commands)
    arguments = parser.parse_args(words)
    try:
        result = arguments.run(arguments)
    except (SaeuronError, OSError) as error:
        print(f"saeuron: {error}", file=sys.stderr)
        return 1
    print(format_json(result.document) if arguments.json else result.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
