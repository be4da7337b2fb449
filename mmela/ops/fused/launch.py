"""Launches: workspaces and arguments of the kernels, from a plan.

Host time decides for small maps. So what follows from shapes alone is worked out once and kept; a
call makes its tensors, three forward and five backward, and launches.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmela.errors import ConfigError
from mmela.ops.fused import kernels
from mmela.ops.fused.layout import memory_format
from mmela.ops.fused.plan import (
    Cut,
    Plan,
    Shape,
    StripTile,
    make_plan,
    next_power,
    strip_tile,
    unsupported,
    vector,
    weight_tile,
)
from mmela.ops.fused.relaunch import Launch, run, traits

#: Takes one of `plan.PATHS` for every map, instead of the one that the plan would choose: for tests
#: and measurements.
FORCED_PATH: str | None = None


class Steps(NamedTuple):
    """Which steps a launch takes: sums over the map, strips to gates or back, what is written."""

    sums: bool
    strips: bool
    write: bool


_ALL = Steps(True, True, True)
_SUMS = Steps(True, False, False)
_STRIPS = Steps(False, True, False)
_WRITE = Steps(False, False, True)
_REST = Steps(False, True, True)
_NO_STRIPS = StripTile(1, 1, 1)


class Prepared(NamedTuple):
    """What calls of one shape share: launches, and the sizes of their workspaces."""

    launches: tuple[Launch, ...]
    strips: int
    partials: int


class Gradients(NamedTuple):
    """Of the map and the parameters; None where nobody asks."""

    x: Tensor | None
    conv_weight: Tensor | None
    gn_weight: Tensor | None
    gn_bias: Tensor | None
    scale: Tensor | None


@lru_cache
def processors(device: torch.device) -> int:
    """The multiprocessors of a device; a few where the kernels are interpreted."""
    if device.type != 'cuda':
        return 2
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def shape_of(x: Tensor, conv_weight: Tensor, groups: int, num_groups: int) -> Shape:
    """What plans for a map and a layer depend on."""
    images, channels, height, width = x.shape
    return Shape(
        images,
        channels,
        height,
        width,
        x.element_size(),
        memory_format(x) == torch.channels_last,
        conv_weight.size(2),
        groups,
        num_groups,
        processors(x.device),
    )


def forward(
    shape: Shape,
    x: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
    residual: bool,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The attended map, and the vectors that backward needs.

    Raises:
        ConfigError: If a parameter does not fit the map, or the kernels cannot serve its shape.
    """
    prepared = _prepare_forward(shape, residual, FORCED_PATH)
    _check_parameters(shape, x, conv_weight, gn_weight, gn_bias, scale)
    x = x.contiguous(memory_format=_layout(shape))
    parameters = _contiguous(conv_weight, gn_weight, gn_bias, scale)
    out = torch.empty_like(x)
    strips = torch.empty(prepared.strips, dtype=torch.float32, device=x.device)
    part = strips.new_empty(prepared.partials) if prepared.partials else None
    eps = float(eps)  # an integer would be an argument of another type
    known = traits(x, *parameters)
    with on_device(x):
        for launch in prepared.launches:
            run(
                kernels.forward_kernel, launch, known,
                x, out, strips, part, *parameters, *launch.sizes, eps,
            )  # fmt: skip
    return out, strips


def backward(
    shape: Shape,
    grad: Tensor,
    x: Tensor,
    strips: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
    residual: bool,
    wants_x: bool,
    wants_parameters: bool,
) -> Gradients:
    """The gradients from that of the output, the map, and what :func:`forward` left."""
    prepared = _prepare_backward(shape, residual, wants_x, FORCED_PATH)
    layout = _layout(shape)
    x, grad = x.contiguous(memory_format=layout), grad.contiguous(memory_format=layout)
    parameters = _contiguous(conv_weight, gn_weight, gn_bias, scale)
    grad_x = torch.empty_like(x) if wants_x else None
    scratch = strips.new_empty(prepared.strips)
    image_grads: Tensor | None = None
    grads: list[Tensor | None] = [None] * 4
    if wants_parameters:
        room = sum(p.numel() for p in parameters if p is not None)
        image_grads = strips.new_empty(x.size(0), room)
        grads = [None if p is None else torch.empty_like(p) for p in parameters]
    known = traits(x, grad, grad_x, strips, image_grads, *parameters)
    with on_device(x):
        for launch in prepared.launches:
            run(
                kernels.backward_kernel, launch, known,
                grad, x, grad_x, strips, scratch, image_grads, *parameters, *launch.sizes,
            )  # fmt: skip
        if wants_parameters:
            launch = _prepare_parameters(shape, room)
            run(kernels.parameter_kernel, launch, known, image_grads, *grads, *launch.sizes)
    return Gradients(grad_x, *grads)


def on_device(x: Tensor) -> AbstractContextManager[Any]:
    """Makes the device of a map the current one, if it is not: Triton launches there."""
    if not x.is_cuda or torch.cuda.current_device() == x.get_device():
        return nullcontext()
    return torch.cuda.device(x.device)


def _check_parameters(shape: Shape, x: Tensor, *parameters: Tensor | None) -> None:
    """A kernel would read past the end of a parameter that is too short."""
    channels = (shape.channels,)
    sizes = ((*channels, shape.fan, shape.kernel_size), channels, channels, channels)
    names = ('conv_weight', 'gn_weight', 'gn_bias', 'scale')
    for name, size, parameter in zip(names, sizes, parameters, strict=True):
        if parameter is None:
            continue
        if parameter.shape != size:
            raise ConfigError(
                f'{name} must have the shape {size} for a map of {shape.channels} channels and '
                f'groups={shape.groups}, and has {tuple(parameter.shape)}.'
            )
        if parameter.device != x.device:
            raise ConfigError(f'{name} is on {parameter.device}, and the map on {x.device}.')


def _layout(shape: Shape) -> torch.memory_format:
    return torch.channels_last if shape.channels_last else torch.contiguous_format


def _contiguous(*parameters: Tensor | None) -> list[Tensor | None]:
    return [None if p is None else p.contiguous() for p in parameters]


@lru_cache(maxsize=4096)
def _prepare_forward(shape: Shape, residual: bool, path: str | None) -> Prepared:
    reason = unsupported(shape)
    if reason is not None:
        raise ConfigError(f'The fused kernels cannot serve this layer: {reason}.')
    plan = make_plan(shape, False, path)

    def constants(cut: Cut, steps: Steps) -> dict[str, Any]:
        strips = strip_tile(shape, cut, backward=False) if steps.strips else _NO_STRIPS
        return dict(
            _constants(shape, cut, residual, steps, strips),
            ONE_TILE=strips.strip >= shape.longest,
            MEANS=steps.sums,
            GATES=steps.strips,
            PRODUCT=steps.write,
        )

    strips = 2 * _strips(shape) + shape.images * 2 * shape.num_groups
    return Prepared(_launches(shape, plan, constants, True), strips, _partials(shape, plan))


@lru_cache(maxsize=4096)
def _prepare_backward(shape: Shape, residual: bool, wants_x: bool, path: str | None) -> Prepared:
    plan = make_plan(shape, True, path)
    partials = _partials(shape, plan)

    def constants(cut: Cut, steps: Steps) -> dict[str, Any]:
        strips, weights = _NO_STRIPS, (1, 1, 1)
        if steps.strips:
            strips, weights = strip_tile(shape, cut, backward=True), weight_tile(shape, cut)
        return dict(
            _constants(shape, cut, residual, steps, strips),
            BLOCK_ROWS=weights[0],
            BLOCK_TAPS=weights[1],
            BLOCK_ALONG=weights[2],
            PARTIAL=partials > 0,
            SUMS=steps.sums,
            GATES=steps.strips,
            PRODUCT=steps.write and wants_x,
        )

    return Prepared(
        _launches(shape, plan, constants, wants_x), 3 * _strips(shape) + partials, partials
    )


@lru_cache(maxsize=1024)
def _prepare_parameters(shape: Shape, room: int) -> Launch:
    weights = shape.channels * shape.fan * shape.kernel_size
    return Launch(
        (-(-room // 128), 1, 1),
        (shape.images,),
        dict(
            C=shape.channels,
            WEIGHTS=weights,
            ROOM=room,
            BLOCK=128,
            BLOCK_IMAGES=min(next_power(shape.images), 16),
        ),
    )


def _strips(shape: Shape) -> int:
    """Numbers in one set of strips."""
    return shape.images * shape.channels * (shape.height + shape.width)


def _partials(shape: Shape, plan: Plan) -> int:
    """Numbers in the parts that sums over H are left in; 0 where they are left whole."""
    splits = plan.cut.splits
    return splits * shape.images * shape.channels * shape.width if splits > 1 else 0


def _launches(
    shape: Shape, plan: Plan, constants: Callable[[Cut, Steps], dict[str, Any]], writes: bool
) -> tuple[Launch, ...]:
    if plan.path == 'one':
        chosen = [(plan.cut, _ALL)]
    elif plan.strip_cut is None:
        chosen = [(plan.cut, _SUMS), (plan.cut, _REST)]
    else:
        chosen = [(plan.cut, _SUMS), (plan.strip_cut, _STRIPS)]
        if writes:
            chosen.append((plan.cut, _WRITE))
    launches = []
    for cut, steps in chosen:
        chosen_constants = constants(cut, steps)
        sizes = (
            shape.images,
            shape.height,
            shape.width // chosen_constants['VECTOR'],
            cut.splits,
            cut.split_rows,
            plan.cut.splits,
        )
        programs = shape.images * (shape.channels // cut.channels) * cut.splits
        launches.append(Launch((programs, 1, 1), sizes, chosen_constants))
    return tuple(launches)


def _constants(
    shape: Shape, cut: Cut, residual: bool, steps: Steps, strips: StripTile
) -> dict[str, Any]:
    """The constants that both directions share.

    What a launch has no use for is the same for all: the fewer combinations, the fewer kernels to
    compile for maps of many sizes.
    """
    on_map = steps.sums or steps.write
    block_c, block_h, block_w = cut.tile if on_map else (1, 1, 1)
    return dict(
        C=shape.channels,
        CHANNELS=cut.channels,
        GROUP=shape.group,
        FAN=shape.fan,
        K=shape.kernel_size,
        VECTOR=vector(shape) if on_map else 1,
        CHANNELS_LAST=shape.channels_last,
        RESIDUAL=residual and steps.write,
        BLOCK_C=block_c,
        BLOCK_H=block_h,
        BLOCK_W=block_w,
        BLOCK_GROUPS=strips.groups,
        BLOCK_GROUP=strips.group,
        BLOCK_STRIP=strips.strip,
        num_warps=cut.num_warps,
        enable_fp_fusion=True,  # multiply and add in one; Triton's default is about to change
    )
