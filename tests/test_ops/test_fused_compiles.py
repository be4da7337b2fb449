"""The fused kernels compile for the GPUs they are meant for, and spill no registers."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest

from benchmarks import kernel_resources
from benchmarks.kernel_resources import DTYPES, PROCESSORS, SITES, Row
from mmela.ops.fused import availability
from mmela.ops.fused.plan import PATHS, make_plan

TABLE = 'benchmarks/results/kernels_sm80_sm90.csv'


def compile_elsewhere(program):
    """Runs a program in a process of its own: this one may interpret the kernels."""
    environment = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    done = subprocess.run(
        [sys.executable, '-c', program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_triton = pytest.mark.skipif(
    availability.toolchain_fault() is not None, reason='compiling kernels needs Triton'
)


@needs_triton
def test_no_kernel_spills():
    places = (1, 5, 6)  # one in each network
    program = f"""
from benchmarks.kernel_resources import *
for r in compile_kernels([SITES[i] for i in {places}], ('bfloat16',), (90,), (False,)):
    print(r.network, r.direction, r.registers, r.spill_bytes, sep=',')
"""
    rows = [row.split(',') for row in compile_elsewhere(program).splitlines()]
    assert {(network, direction) for network, direction, _, _ in rows} == {
        (SITES[i].network, direction) for i in places for direction in ('forward', 'backward')
    }
    for *kernel, registers, spilled in rows:
        assert 0 < int(registers) <= 255 and int(spilled) == 0, kernel


@needs_triton
@pytest.mark.long
@pytest.mark.parametrize('capability', PROCESSORS)
@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
def test_no_kernel_spills_anywhere(capability, dtype):
    program = f"""
from benchmarks.kernel_resources import *
print(max(row.spill_bytes for row in compile_kernels(SITES, ('{dtype}',), ({capability},))))
"""
    assert int(compile_elsewhere(program)) == 0


@needs_triton
def test_parameters_are_summed_by_a_kernel_that_compiles():
    """Backward's last launch; the table above lists the two others."""
    compile_elsewhere(
        """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mmela.ops.fused import kernels, launch
shape = launch.Shape(2, 64, 9, 9, 2, False, 5, 8, 16, 132)
constants = launch._prepare_parameters(shape, 64 * (8 * 5 + 2)).constants
signature = {p.name: '*fp32' if p.name.endswith('_ptr') else 'i32'
             for p in kernels.parameter_kernel.params}
signature.update({name: 'constexpr' for name in [*constants, 'grad_scale_ptr']})
source = ASTSource(kernels.parameter_kernel, signature, dict(constants, grad_scale_ptr=None))
triton.compile(source, target=GPUTarget('cuda', 90, 32))
"""
    )


def committed(repo_root):
    with open(repo_root / TABLE, newline='') as table:
        return [Row(**row) for row in csv.DictReader(table)]


def test_the_committed_table_shows_no_spills(repo_root):
    rows = committed(repo_root)
    assert {row.network for row in rows} == {site.network for site in SITES}
    assert {row.dtype for row in rows} == set(DTYPES)
    assert {row.form for row in rows} == set(kernel_resources.FORMS)
    assert all(row.spill_bytes == '0' for row in rows)


def test_the_committed_table_is_of_todays_plans(repo_root):
    rows = committed(repo_root)
    for site in SITES:
        for capability in PROCESSORS:
            for last in (False, True):
                shape = kernel_resources._shape(site, 'bfloat16', last, capability)
                for backward in (False, True):
                    cut = make_plan(shape, backward).cut
                    programs = shape.images * (shape.channels // cut.channels) * cut.splits
                    wanted = dict(
                        capability=str(capability),
                        map='x'.join(map(str, site.map)),
                        dtype='bfloat16',
                        memory_format='channels_last' if last else 'contiguous',
                        direction='backward' if backward else 'forward',
                        programs=str(programs),
                        warps=str(cut.num_warps),
                    )
                    assert any(
                        all(getattr(row, key) == value for key, value in wanted.items())
                        for row in rows
                    ), wanted


def test_both_paths_are_in_the_table():
    shapes = [kernel_resources._shape(site, 'bfloat16', False, 90) for site in SITES]
    assert {make_plan(shape, False).path for shape in shapes} == set(PATHS)


@pytest.mark.parametrize('out', ['there.csv', '.', 'nowhere/new.csv'])
def test_a_table_is_replaced_only_by_a_complete_one(tmp_path, repo_root, out):
    (tmp_path / 'there.csv').write_text('older')
    run = subprocess.run(
        [sys.executable, repo_root / 'tools/analysis_tools/compile_kernels.py', '--out', out],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, 'TRITON_INTERPRET': '1', 'PYTHONPATH': str(repo_root)},
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.startswith('error: ') and len(run.stderr.splitlines()) == 1
    assert (tmp_path / 'there.csv').read_text() == 'older'
    assert [path.name for path in tmp_path.iterdir()] == ['there.csv']
