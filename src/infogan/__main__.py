"""``python -m infogan``: the command line, and without a command the same as ``kedro run``."""

from infogan.commands import main

if __name__ == "__main__":
    main()
