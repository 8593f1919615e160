"""The program `tuneyard`, which is `python -m tuneyard.cli` too."""

import sys


def main() -> None:
    """Runs the command line and exits: also where Ctrl-C comes while it is still being loaded."""
    try:
        from tuneyard.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
