"""Registers, spills and shared memory of the Triton kernels, by compiling them; needs no GPU."""

from __future__ import annotations

import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmela.errors import ConfigError

#: Dtypes of a map and Triton's names for them.
DTYPES = {'bfloat16': 'bf16', 'float16': 'fp16', 'float32': 'fp32', 'float64': 'fp64'}
MEMORY_FORMATS = ('contiguous', 'channels_last')
#: Compute capabilities: A100, and H100 and H200.
CAPABILITIES = (80, 90)
#: Kernel and flag of each pass.
PASSES = {
    'strip_means': ('sums_kernel', {'PRODUCT': False}),
    'weigh': ('map_kernel', {'GRADIENT': False}),
    'product_sums': ('sums_kernel', {'PRODUCT': True}),
    'map_gradient': ('map_kernel', {'GRADIENT': True}),
}
#: Arguments that are None where the flag is False.
_ABSENT = {
    'strip_means': ('grad_ptr', 'y_h_ptr', 'y_w_ptr'),
    'weigh': ('mean_h_ptr', 'mean_w_ptr'),
}
#: Arguments in the precision of the gates; all other pointers have the dtype of the map.
_SINGLE = ('sum_h_ptr', 'sum_w_ptr', 'mean_h_ptr', 'mean_w_ptr')


class Row(NamedTuple):
    """One compiled kernel; it serves every size."""

    triton: str
    capability: int
    pass_: str
    dtype: str
    memory_format: str
    registers: int
    spill_bytes: int
    shared_bytes: int


#: Column names of a table of rows.
HEADER = [name.rstrip('_') for name in Row._fields]


def compile_kernels(
    dtypes: tuple[str, ...] = tuple(DTYPES), capabilities: tuple[int, ...] = CAPABILITIES
) -> Iterator[Row]:
    """Compiles every kernel of the layer.

    Args:
        dtypes: Keys of :data:`DTYPES`.
        capabilities: Of :data:`CAPABILITIES`.

    Yields:
        One row for each pass, dtype, memory format and capability.

    Raises:
        ConfigError: If Triton is missing or runs as an interpreter.
    """
    triton, kernels = _import_kernels()
    for capability, name, dtype, memory_format in itertools.product(
        capabilities, PASSES, dtypes, MEMORY_FORMATS
    ):
        source = _source(kernels, name, DTYPES[dtype], memory_format == 'channels_last')
        target = triton.backends.compiler.GPUTarget('cuda', capability, 32)
        compiled = triton.compile(source, target=target, options=kernels.OPTIONS)
        registers, spilled = _assemble(compiled.asm['ptx'], capability)
        yield Row(
            triton.__version__, capability, name, dtype, memory_format,
            registers, spilled, compiled.metadata.shared,
        )  # fmt: skip


def _import_kernels() -> tuple[Any, Any]:
    try:
        import triton
        import triton.backends.compiler
        from triton.backends.nvidia.compiler import get_ptxas  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'Compiling the kernels without a GPU needs a newer Triton ({error}): '
            'pip install -U triton.'
        ) from None
    from mmela.ops import triton_passes

    if not isinstance(triton_passes.sums_kernel, triton.JITFunction):
        raise ConfigError('TRITON_INTERPRET=1 disables compilation: unset it.')
    return triton, triton_passes


def _source(kernels: Any, name: str, dtype: str, last: bool) -> Any:
    """A pass as Triton's compiler takes it: a signature without sizes, and its constants."""
    from triton.compiler import ASTSource

    kernel_name, flag = PASSES[name]
    kernel = getattr(kernels, kernel_name)
    blocks = kernels.PIXELS if last else kernels.PLANES
    constants = {
        **dict.fromkeys(_ABSENT.get(name, ())),
        **dict(zip(('BLOCK_C', 'BLOCK_H', 'BLOCK_W'), blocks, strict=True)),
        **flag,
        'LAST': last,
        'ROWS': kernels.ROWS,
    }
    single = 'fp64' if dtype == 'fp64' else 'fp32'
    signature = {}
    for argument in kernel.arg_names:
        if argument in constants:
            signature[argument] = 'constexpr'
        elif argument.endswith('_ptr'):
            signature[argument] = f'*{single if argument in _SINGLE else dtype}'
        else:
            signature[argument] = 'i32'
    return ASTSource(kernel, signature, constants)


def _assemble(ptx: str, capability: int) -> tuple[int, int]:
    """Registers and spilled bytes, as reported by the ptxas that Triton ships."""
    from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'kernel.ptx')
        source.write_text(ptx)
        report = subprocess.run(
            [
                get_ptxas(capability).path, '-v',
                f'--gpu-name={sm_arch_from_capability(capability)}', source,
                '-o', Path(folder, 'kernel.cubin'),
            ],
            check=True, capture_output=True, text=True,
        ).stderr  # fmt: skip
    found = re.search(r'Used (\d+) registers', report)
    spilled = re.search(r'(\d+) bytes spill stores, (\d+) bytes spill loads', report)
    assert found and spilled, report
    return int(found[1]), max(map(int, spilled.groups()))
