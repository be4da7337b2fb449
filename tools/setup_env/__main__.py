"""Set mmela up: `python3 tools/setup_env --venv .venv`, or shorter, `make setup`.

Needs nothing but Python, a C++ compiler and pip's index. This file is kept readable to Python
3.6, so that an old one gets a sentence and no SyntaxError.
"""

import sys

OLDEST, NEWEST = (3, 10), (3, 13)


def check_python():
    """Ends the program where this Python cannot run the toolboxes."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    found = '.'.join(map(str, sys.version_info[:2]))
    sys.stderr.write(
        f'setup: this is Python {found}, and the toolboxes run on 3.{OLDEST[1]} to 3.{NEWEST[1]}. '
        'Name another one: make setup PYTHON=python3.11\n'
    )
    sys.exit(2)


if __name__ == '__main__':
    check_python()
    from setup_program import main

    sys.exit(main(sys.argv[1:]))
