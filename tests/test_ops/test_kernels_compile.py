"""The kernels compile for GPUs without one: one kernel for each pass, dtype and memory format."""

from __future__ import annotations

import csv
import itertools
import os
import subprocess
import sys

import pytest

from benchmarks import kernel_resources
from benchmarks.kernel_resources import CAPABILITIES, DTYPES, HEADER, MEMORY_FORMATS, PASSES

pytest.importorskip('triton', reason='compiling kernels needs Triton')
try:
    from triton.backends.nvidia.compiler import get_ptxas  # noqa: F401
except ImportError:
    pytest.skip('compiling without a GPU needs a newer Triton', allow_module_level=True)
TABLE = 'benchmarks/results/kernels_sm80_sm90.csv'


@pytest.fixture(scope='module')
def committed(repo_root):
    with open(repo_root / TABLE, newline='') as table:
        return list(csv.DictReader(table))


def compile_elsewhere(*arguments):
    """Compiles in another process, as this one may interpret the kernels; returns the rows."""
    program = f"""
import sys
import mmela.ops
assert 'mmela.ops.triton_passes' not in sys.modules  # those who ask for the kernels pay for them
from mmela.ops import triton_passes
# Triton compiles another kernel for a size of 1, for one divisible by 16, and for an address
# divisible by 16, unless a parameter is excluded from it.
for kernel in (triton_passes.sums_kernel, triton_passes.map_kernel):
    for parameter in kernel.params:
        assert parameter.is_constexpr or parameter.do_not_specialize, parameter.name
        if parameter.name.endswith('_ptr'):
            assert parameter.do_not_specialize_on_alignment, parameter.name
from benchmarks.kernel_resources import compile_kernels
for row in compile_kernels(*{arguments}):
    print('row', *row, sep=',')
"""
    environment = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    done = subprocess.run(
        [sys.executable, '-c', program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(',') for line in done.stdout.splitlines()]
    return [dict(zip(HEADER, row, strict=True)) for kind, *row in lines if kind == 'row']


def assert_complete(rows, dtypes, capabilities):
    """One kernel for each combination, and no spilled register."""
    found = [(int(r['capability']), r['pass'], r['dtype'], r['memory_format']) for r in rows]
    expected = itertools.product(capabilities, PASSES, dtypes, MEMORY_FORMATS)
    assert sorted(found) == sorted(expected)
    for row in rows:
        assert 0 < int(row['registers']) <= 255 and row['spill_bytes'] == '0', row


def assert_committed(rows, committed):
    if rows[0]['triton'] == committed[0]['triton']:
        assert all(row in committed for row in rows)


def test_one_kernel_serves_all_sizes_and_spills_nothing(committed):
    rows = compile_elsewhere(('bfloat16',), (90,))
    assert_complete(rows, ['bfloat16'], [90])
    assert_committed(rows, committed)


@pytest.mark.long
@pytest.mark.core
def test_no_kernel_spills_anywhere(committed):
    rows = compile_elsewhere()
    assert_complete(rows, DTYPES, CAPABILITIES)
    assert_committed(rows, committed)


def test_the_committed_table_shows_every_kernel_without_spills(committed):
    assert_complete(committed, DTYPES, CAPABILITIES)


def test_an_interpreter_compiles_nothing_and_no_table_is_lost(tool, tmp_path, monkeypatch):
    from mmela.ops import triton_passes

    monkeypatch.setattr(triton_passes, 'sums_kernel', None)  # as under the interpreter
    there = tmp_path / 'there.csv'
    there.write_text('older')
    status, message = tool('analysis_tools/compile_kernels.py', '--out', there)
    assert status == 2 and 'TRITON_INTERPRET' in message
    assert there.read_text() == 'older'
    assert kernel_resources.HEADER[2] == 'pass'
