"""Stands in for the compilers while mmcv is built: precompiled header, right C++ standard.

Most of the time of each of mmcv's 78 C++ files goes into reading torch's headers. They are read
once here: the first file to be compiled has them precompiled with its own flags, which is the only
way to be sure that the flags agree (a compiler silently ignores a header made with others).
Whatever goes wrong with the header, the file is compiled without it.

mmcv asks for C++17, whatever torch's headers need; `CXX_STANDARD` (such as c++20) overrides it.

    python pch_compiler.py COMPILER FOLDER ARGUMENTS...

`FOLDER` keeps the header for as long as the build goes on.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

HEADER = '#include <torch/types.h>\n'


def is_source(argument: str) -> bool:
    """Whether an argument names a C++ file."""
    return argument.endswith(('.cpp', '.cc', '.cxx'))


def flags_of(arguments: list[str]) -> list[str]:
    """The arguments less the input, the output and the dependency file."""
    flags, rest = [], iter(arguments)
    for argument in rest:
        if argument in ('-o', '-MF', '-MT', '-MQ'):
            next(rest, None)
        elif argument not in ('-c', '-MMD', '-MD') and not is_source(argument):
            flags.append(argument)
    return flags


def precompiled(compiler: str, folder: Path, arguments: list[str]) -> Path | None:
    """The header for these flags, compiled by whoever comes first; None where that fails."""
    header, failed = folder / 'torch_headers.h', folder / 'failed'
    compiled = Path(f'{header}.gch')
    with (folder / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not compiled.exists() and not failed.exists():
            header.write_text(HEADER)
            part = Path(f'{compiled}.part')
            flags = flags_of(arguments)
            made = subprocess.run(
                [compiler, *flags, '-x', 'c++-header', str(header), '-o', str(part)]
            )
            if made.returncode:
                failed.touch()
            else:
                part.replace(compiled)
    return None if failed.exists() else header


def main(compiler: str, folder: Path, arguments: list[str]) -> None:
    """Becomes the compiler; does not return."""
    standard = os.environ.get('CXX_STANDARD')
    if standard:
        arguments = [
            f'-std={standard}' if argument.startswith('-std=') else argument
            for argument in arguments
        ]
    if '-c' in arguments and sum(map(is_source, arguments)) == 1:
        header = precompiled(compiler, folder, arguments)
        if header:
            arguments = ['-Winvalid-pch', '-include', str(header), *arguments]
    os.execvp(compiler, [compiler, *arguments])


if __name__ == '__main__':
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
