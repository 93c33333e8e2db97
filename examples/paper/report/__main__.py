"""Write docs/reproduction.md and its picture, made of docs/results."""

import argparse

from examples.paper.report.page import FILE, write


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m examples.paper.report", description=__doc__)
    parser.parse_args(arguments)
    try:
        write()
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(FILE)


if __name__ == "__main__":
    main()
