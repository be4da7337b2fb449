"""What the compiler makes of the fused kernels: registers, spills, shared memory. Needs no GPU."""

from __future__ import annotations

import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmela.errors import ConfigError


class Site(NamedTuple):
    """A place where a network holds the layer, at the batch of its config.

    Attributes:
        network: Which.
        variant: Of the layer.
        map: (N, C, H, W).
    """

    network: str
    variant: str
    map: tuple[int, int, int, int]


#: The main configurations.
SITES = (
    Site('YOLOX-S 640', 'T', (8, 128, 80, 80)),
    Site('YOLOX-S 640', 'T', (8, 256, 40, 40)),
    Site('YOLOX-S 640', 'T', (8, 512, 20, 20)),
    Site('Faster R-CNN R50 800x1333', 'B', (2, 128, 100, 168)),
    Site('Faster R-CNN R50 800x1333', 'B', (2, 256, 50, 84)),
    Site('Faster R-CNN R50 800x1333', 'B', (2, 512, 25, 42)),
    Site('DeepLabV3 R50 512', 'S', (4, 128, 64, 64)),
    Site('DeepLabV3 R50 512', 'S', (4, 256, 64, 64)),
    Site('DeepLabV3 R50 512', 'S', (4, 512, 64, 64)),
)
#: Dtypes of a map: Triton's name, and the bytes of an element.
DTYPES = {'bfloat16': ('bf16', 2), 'float16': ('fp16', 2), 'float32': ('fp32', 4)}
#: What the layer does with the attended map, least first: ``x * y_h * y_w``, and
#: ``x + scale * x * y_h * y_w``. ``residual=True`` lies between them.
FORMS = ('product', 'scaled')
#: Multiprocessors of the devices that stand for the capabilities: A100, H100 and H200.
PROCESSORS = {80: 108, 90: 132}


class Row(NamedTuple):
    """One kernel: what was compiled, by which Triton, and what became of it."""

    triton: str
    capability: int
    network: str
    variant: str
    map: str
    form: str
    dtype: str
    memory_format: str
    direction: str
    steps: str
    programs: int
    warps: int
    registers: int
    spill_bytes: int
    shared_bytes: int


def compile_kernels(
    sites: tuple[Site, ...] = SITES,
    dtypes: tuple[str, ...] = tuple(DTYPES),
    capabilities: tuple[int, ...] = tuple(PROCESSORS),
    channels_last: tuple[bool, ...] = (False, True),
    forms: tuple[str, ...] = FORMS,
) -> Iterator[Row]:
    """Compiles every launch of the layer at some sites, for training.

    Args:
        sites: Where the layer stands.
        dtypes: Keys of :data:`DTYPES`.
        capabilities: Keys of :data:`PROCESSORS`.
        channels_last: Memory formats.
        forms: Of :data:`FORMS`.

    Yields:
        A row for each kernel.

    Raises:
        ConfigError: If Triton is missing, or runs as an interpreter.
    """
    version, kernels, launch = _import_kernels()
    for capability, site, form, dtype, last in itertools.product(
        capabilities, sites, forms, dtypes, channels_last
    ):
        shape, scaled = _shape(site, dtype, last, capability), form == 'scaled'
        forward = launch._prepare_forward(shape, scaled, None)
        backward = launch._prepare_backward(shape, scaled, True, None)
        for direction, kernel, prepared in (
            ('forward', kernels.forward_kernel, forward),
            ('backward', kernels.backward_kernel, backward),
        ):
            for each in prepared.launches:
                yield Row(
                    version,
                    capability,
                    site.network,
                    site.variant,
                    'x'.join(map(str, site.map)),
                    form,
                    dtype,
                    'channels_last' if last else 'contiguous',
                    direction,
                    _steps(each.constants),
                    each.grid[0],
                    each.constants['num_warps'],
                    *_resources(kernel, each, scaled, DTYPES[dtype][0], capability),
                )


def _import_kernels() -> tuple[str, Any, Any]:
    try:
        import triton
    except ImportError as error:
        raise ConfigError(
            f'Compiling kernels needs Triton: pip install triton ({error}).'
        ) from None
    from mmela.ops.fused import kernels, launch

    if not isinstance(kernels.forward_kernel, triton.JITFunction):
        raise ConfigError(
            'TRITON_INTERPRET=1 is set, and an interpreter compiles nothing: unset it.'
        )
    return triton.__version__, kernels, launch


def _shape(site: Site, dtype: str, channels_last: bool, capability: int) -> Any:
    from mmela.attentions.ela import VARIANTS
    from mmela.ops.fused.plan import Shape

    variant, channels = VARIANTS[site.variant], site.map[1]
    return Shape(
        *site.map,
        DTYPES[dtype][1],
        channels_last,
        variant.kernel_size,
        channels // variant.channels_per_conv_group,
        variant.num_groups,
        PROCESSORS[capability],
    )


def _steps(constants: dict[str, Any]) -> str:
    names = ('MEANS', 'SUMS', 'GATES', 'PRODUCT')
    return '+'.join(name.lower() for name in names if constants.get(name))


def _resources(
    kernel: Any, launch: Any, scaled: bool, dtype: str, capability: int
) -> tuple[int, int, int]:
    """Registers of a thread, bytes spilled, bytes of shared memory."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    maps = {'x_ptr', 'out_ptr', 'grad_ptr', 'grad_x_ptr'}
    constants = dict(launch.constants)
    options = {name: constants.pop(name) for name in ('num_warps', 'enable_fp_fusion')}
    absent = set() if scaled else {'scale_ptr'}
    if launch.sizes[5] == 1:
        absent.add('part_ptr')
    signature, values, attributes = {}, {}, {}
    for place, parameter in enumerate(kernel.params):
        name = parameter.name
        if name in constants or name in absent:
            signature[name], values[place,] = 'constexpr', constants.get(name)
        elif name.endswith('_ptr'):
            signature[name] = f'*{dtype}' if name in maps else '*fp32'
            attributes[place,] = [['tt.divisibility', 16]]  # as PyTorch allocates
        else:
            signature[name] = 'fp32' if name == 'eps' else 'i32'
    compiled = triton.compile(
        ASTSource(kernel, signature, values, attributes),
        target=GPUTarget('cuda', capability, 32),
        options=options,
    )
    registers, spilled = _assemble(compiled.asm['ptx'], capability)
    return registers, spilled, compiled.metadata.shared


def _assemble(ptx: str, capability: int) -> tuple[int, int]:
    """Registers and spilled bytes, as Triton's own ptxas reports them."""
    from triton.backends.nvidia.compiler import get_ptxas, sm_arch_from_capability

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'kernel.ptx')
        source.write_text(ptx)
        report = subprocess.run(
            [
                get_ptxas(capability).path, '-v', '--regAllocOptLevel=2',
                f'--gpu-name={sm_arch_from_capability(capability)}', source,
                '-o', Path(folder, 'kernel.cubin'),
            ],
            check=True, capture_output=True, text=True,
        ).stderr  # fmt: skip
    found = re.search(r'Used (\d+) registers', report)
    spilled = re.search(r'(\d+) bytes spill stores, (\d+) bytes spill loads', report)
    assert found and spilled, report
    return int(found[1]), max(map(int, spilled.groups()))
