"""A repeated launch passes Triton's binder by, and is the same launch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mmela.ops.fused import availability

# A driver that compiles for a GPU and writes down the launches, in a process of its own: this one
# may interpret the kernels.
DRIVER = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

launches, bound = [], []

class Launcher:
    def __init__(self, source, metadata):
        pass
    def __call__(self, *arguments):
        launches.append((self, *arguments))

class Utilities:
    def load_binary(self, *_):
        return 'module', object(), 32, 0, 1024
    def unload_module(self, _):
        pass
    def get_device_properties(self, _):
        return {'max_shared_mem': 232448}

class Driver:
    utils, launcher_cls = Utilities(), Launcher
    def get_current_device(self):
        return 0
    def get_current_stream(self, device):
        return 7
    def get_current_target(self):
        return GPUTarget('cuda', 90, 32)
    def get_active_torch_device(self):
        return torch.device('cpu')

driver.set_active(Driver())

from mmela.ops.fused import kernels, launch, relaunch

for kernel in (kernels.forward_kernel, kernels.backward_kernel, kernels.parameter_kernel):
    kernel.run = lambda *a, run=kernel.run, **k: (bound.append(run), run(*a, **k))[1]

def same(a, b):
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a).__name__ == 'LazyDict':  # what the hooks of a profiler get, a new one each time
        return a.data == b.data
    return a is b if isinstance(a, torch.Tensor) else type(a) is type(b) and a == b
"""
PARAMETERS = """
shape = launch.Shape(2, 16, 9, 9, 4, False, 5, 16, 4, 132)
each = launch._prepare_parameters(shape, 16 * 8)

def go(*tensors):
    relaunch.run(
        kernels.parameter_kernel, each, relaunch.traits(*tensors), *tensors, *each.sizes
    )

image_grads, weight, scale = torch.zeros(2, 128), torch.zeros(16, 1, 5), torch.zeros(16)
vectors = torch.zeros(16), torch.zeros(16)
go(image_grads, weight, *vectors, scale)
"""
LAYER = """
x = torch.zeros(2, 16, 12, 20)
weight, vector, scale = torch.zeros(16, 1, 5), torch.ones(16), torch.ones(16)
parameters = weight, vector, vector, scale
shape = launch.shape_of(x, weight, 16, 4)
def forward(x=x, parameters=parameters, eps=1e-5):
    return launch.forward(shape, x, *parameters, False, eps)
def backward(strips, x=x, parameters=parameters, wants_x=True, wants_parameters=True):
    return launch.backward(
        shape, x, x, strips, *parameters, False, wants_x, wants_parameters
    )
"""

pytest.importorskip('triton', reason='compiling kernels needs Triton')
if availability.toolchain_fault():
    pytest.skip(availability.toolchain_fault(), allow_module_level=True)

from mmela.ops.fused import relaunch  # noqa: E402

pytestmark = pytest.mark.skipif(
    not relaunch.REPEATS, reason='this Triton is launched the usual way until it is looked at'
)


def run_program(*parts):
    environment = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    done = subprocess.run(
        [sys.executable, '-c', '\n'.join((DRIVER, *parts))],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_second_launch_is_the_first_without_the_binder():
    run_program(
        PARAMETERS,
        """
go(image_grads, weight, *vectors, scale)
assert len(launches) == 2 and len(bound) == 1
assert same(*launches)
""",
    )


@pytest.mark.long
def test_another_address_dtype_or_none_gets_a_kernel_of_its_own():
    run_program(
        PARAMETERS,
        """
others = (
    (image_grads, weight, *vectors, torch.zeros(17)[1:]),  # off 16 bytes
    (image_grads, weight.half(), *vectors, scale),
    (image_grads, weight, *vectors, None),
)
for tensors in (*others, *others):
    go(*tensors)
go(image_grads, weight, *vectors, scale)
assert len(bound) == 4
kernel = [launcher for launcher, *_ in launches]
assert len(set(kernel[:4])) == 4
assert kernel[4:7] == kernel[1:4] and kernel[7] is kernel[0]
""",
    )


@pytest.mark.long
def test_a_layer_repeats_every_launch():
    run_program(
        LAYER,
        """
def step(path):
    launch.FORCED_PATH = path
    _, strips = forward()
    backward(strips)

for path, count in ('one', 3), ('split', 5):  # the last for the parameters
    launches.clear()
    step(path)
    first, usual = list(launches), len(bound)
    assert len(first) == count
    launches.clear()
    step(path)
    assert len(bound) == usual and len(launches) == count
    for one, other in zip(first, launches):
        for a, b in zip(one, other, strict=True):
            both = isinstance(a, torch.Tensor) and a.shape == b.shape and a.dtype == b.dtype
            assert both or same(a, b)
""",
    )


@pytest.mark.long
def test_a_layer_with_other_tensors_gets_kernels_of_its_own():
    run_program(
        LAYER,
        """
off = torch.zeros(x.numel() + 1)[1:].view_as(x)
half = tuple(p.half() for p in parameters)
cases = (
    dict(),
    dict(x=off),
    dict(parameters=half),
    dict(parameters=(*parameters[:3], None)),
)
asked = (dict(wants_x=False), dict(wants_parameters=False))
launch.FORCED_PATH = 'one'

def kernels_of(case, wanted={}):
    launches.clear()
    grads = backward(forward(**case)[1], **case, **wanted)
    dtypes = {g.dtype for g in grads[1:] if g is not None}
    assert dtypes <= {case.get('parameters', parameters)[0].dtype}
    return tuple(launcher for launcher, *_ in launches)

first = [kernels_of(case) for case in cases] + [kernels_of({}, wanted) for wanted in asked]
usual = len(bound)
again = [kernels_of(case) for case in cases] + [kernels_of({}, wanted) for wanted in asked]
assert again == first and len(bound) == usual
assert len({forward for forward, *_ in first}) == len(cases)
assert len({backward for _, backward, *_ in first}) == len(first)
""",
    )


@pytest.mark.long
def test_an_unknown_version_of_triton_launches_the_usual_way():
    run_program(
        'relaunch.REPEATS = False',
        PARAMETERS,
        """
go(image_grads, weight, *vectors, scale)
assert len(bound) == 2 and not each.compiled
""",
    )


@pytest.mark.long
def test_an_integer_eps_does_not_meet_a_kernel_for_fractions():
    run_program(
        LAYER,
        """
forward()
forward(eps=1)
eps = launches[-1][-len(kernels.forward_kernel.arg_names):][14]
assert type(eps) is float and eps == 1.0 and launches[-1][0] is launches[0][0]
""",
    )
