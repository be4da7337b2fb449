"""Compiler wrapper for the build of mmcv: adds a precompiled header and the C++ standard.

Compiling each of mmcv's 78 C++ files spends most of its time on torch's headers. This wrapper
precompiles them with the flags of the first file, because a compiler silently ignores a header that
was compiled with other flags. If that fails, files are compiled without it.

mmcv requests C++17 regardless of torch's headers; `CXX_STANDARD` (such as c++20) overrides it.

    python pch_compiler.py COMPILER FOLDER ARGUMENTS...

`FOLDER` keeps the header during the build.
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
    """The arguments without input, output and dependency file."""
    flags, rest = [], iter(arguments)
    for argument in rest:
        if argument in ('-o', '-MF', '-MT', '-MQ'):
            next(rest, None)
        elif argument not in ('-c', '-MMD', '-MD') and not is_source(argument):
            flags.append(argument)
    return flags


def precompiled(compiler: str, folder: Path, arguments: list[str]) -> Path | None:
    """The header for these flags, compiled by the first process; None if that failed."""
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
    """Replaces this process by the compiler; does not return."""
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
