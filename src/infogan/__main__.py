"""``python -m infogan``: the same as ``kedro run``, from the project's folder."""

import sys
from pathlib import Path

from kedro.framework.cli.cli import KedroCLI


def main() -> None:
    """Run the project in the current folder."""
    KedroCLI(Path.cwd()).main(["run", *sys.argv[1:]])


if __name__ == "__main__":
    main()
