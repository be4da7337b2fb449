"""Set up the environment: `python3 tools/setup_env --venv .venv`, or `make setup`.

Needs only Python, a C++ compiler and a package index. This file has the syntax of Python 3.6, so
that an old Python prints a message instead of a SyntaxError.
"""

import sys

OLDEST, NEWEST = (3, 10), (3, 13)


def check_python():
    """Exits with a message if this Python cannot run the toolboxes."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    found = '.'.join(map(str, sys.version_info[:2]))
    sys.stderr.write(
        f'setup: expected Python 3.{OLDEST[1]} to 3.{NEWEST[1]}, got {found}; choose another one '
        'with make setup PYTHON=python3.11\n'
    )
    sys.exit(2)


if __name__ == '__main__':
    check_python()
    from setup_program import main

    sys.exit(main(sys.argv[1:]))
