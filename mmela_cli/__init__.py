"""The command line of mmela: ``mmela train``, ``mmela predict``, ...

Each command is a module here with a ``main`` that parses its arguments; `tools/*.py` call the same
functions. Only the standard library is imported before a command runs, so that ``mmela --help``
answers at once: ``import mmela`` would bring torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

#: The commands, with what they do.
COMMANDS = {
    'train': 'train a detector, a segmenter or a classifier',
    'test': 'test a checkpoint',
    'predict': 'run a checkpoint on images',
    'look': 'draw attention maps and class activation maps',
    'export': 'write a checkpoint as ONNX',
    'verify': 'check every file of the data sets of a config',
    'attend': 'write a config that adds attention to a network',
    'compare': 'compare networks on your data over several seeds',
    'flops': 'print parameters and FLOPs with and without attention',
    'doctor': 'check the environment',
}

_USAGE = 'usage: mmela COMMAND [options]; mmela COMMAND --help shows the options\n\ncommands:\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The words after ``mmela``; None means those of the process.

    Returns:
        The exit status; 2 after a user error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    listing = _USAGE + '\n'.join(f'  {name:<9} {does}' for name, does in COMMANDS.items())
    if not words or words[0] in ('-h', '--help'):
        print(listing)
        return 0 if words else 2
    if words[0] not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(words[0], COMMANDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else '.'
        print(
            f'error: expected one of {", ".join(COMMANDS)}, got {words[0]!r}{hint}', file=sys.stderr
        )
        return 2
    try:
        status: int = import_module(f'mmela_cli.{words[0]}').main(words[1:], f'mmela {words[0]}')
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


@contextmanager
def mmela_imports() -> Iterator[None]:
    """Turns a failed import of mmela inside the block into a message and exit status 2.

    Raises:
        SystemExit: With status 2, if mmela or what it needs cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        print(f'error: mmela cannot be imported: {error}', file=sys.stderr)
        raise SystemExit(2) from None
