"""`python -m tuneyard.cli`: the same as `tuneyard`."""

from tuneyard.cli.main import main

if __name__ == "__main__":
    main()
