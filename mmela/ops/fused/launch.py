"""Launches: workspaces and arguments of the kernels, from a plan.

Host time decides for small maps. So what follows from shapes alone is worked out once and kept; a
call makes its tensors, three forward and five backward, and launches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
    vector,
    weight_tile,
)
from mmela.ops.fused.relaunch import Launch, run, traits

#: Takes one of `plan.PATHS` for every map, instead of the one that the plan would choose: for tests
#: and measurements.
FORCED_PATH: str | None = None

#: Which steps a launch takes: sums over the map, strips to gates or back, the pass that writes.
Steps = tuple[bool, bool, bool]
_ALL: Steps = (True, True, True)
_SUMS: Steps = (True, False, False)
_STRIPS: Steps = (False, True, False)
_WRITE: Steps = (False, False, True)
_REST: Steps = (False, True, True)


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
    x: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
    groups: int,
    num_groups: int,
    residual: bool,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The attended map, and the vectors that backward needs."""
    shape = shape_of(x, conv_weight, groups, num_groups)
    prepared = _prepare_forward(shape, residual, FORCED_PATH)
    x = x.contiguous(memory_format=memory_format(x))
    out = torch.empty_like(x)
    strips = torch.empty(prepared.strips, dtype=torch.float32, device=x.device)
    part = None
    if prepared.partials:
        part = torch.empty(prepared.partials, dtype=torch.float32, device=x.device)
    tensors = (
        x, out, strips, part, conv_weight.contiguous(), gn_weight.contiguous(),
        gn_bias.contiguous(), None if scale is None else scale.contiguous(),
    )  # fmt: skip
    eps = float(eps)  # an integer would be an argument of another type
    known = traits(tensors)
    with on_device(x):
        for launch in prepared.launches:
            run(kernels.forward_kernel, launch, known, *tensors, *launch.sizes, eps)
    return out, strips


def backward(
    grad: Tensor,
    x: Tensor,
    strips: Tensor,
    conv_weight: Tensor,
    gn_weight: Tensor,
    gn_bias: Tensor,
    scale: Tensor | None,
    groups: int,
    num_groups: int,
    residual: bool,
    wants_x: bool,
    wants_parameters: bool,
) -> Gradients:
    """The gradients from that of the output, the map, and what :func:`forward` left."""
    shape = shape_of(x, conv_weight, groups, num_groups)
    prepared = _prepare_backward(shape, residual, wants_x, FORCED_PATH)
    layout = memory_format(x)
    x, grad = x.contiguous(memory_format=layout), grad.contiguous(memory_format=layout)
    new = dict(dtype=torch.float32, device=x.device)
    grad_x = torch.empty_like(x) if wants_x else None
    scratch = torch.empty(prepared.strips, **new)
    parameters = [conv_weight, gn_weight, gn_bias, *([] if scale is None else [scale])]
    room = sum(p.numel() for p in parameters)
    image_grads = torch.empty(x.size(0), room, **new) if wants_parameters else None
    tensors = (
        grad, x, grad_x, strips, scratch, image_grads, conv_weight.contiguous(),
        gn_weight.contiguous(), gn_bias.contiguous(), None if scale is None else scale.contiguous(),
    )  # fmt: skip
    grads: list[Tensor | None] = [None] * 4
    known = traits(tensors)
    with on_device(x):
        for launch in prepared.launches:
            run(kernels.backward_kernel, launch, known, *tensors, *launch.sizes)
        if wants_parameters:
            for index, parameter in enumerate(parameters):
                grads[index] = torch.empty_like(parameter, memory_format=torch.contiguous_format)
            launch = _prepare_parameters(shape, room)
            known = traits([image_grads, *grads])
            run(kernels.parameter_kernel, launch, known, image_grads, *grads, *launch.sizes)
    return Gradients(grad_x, *grads)


def on_device(x: Tensor) -> Any:
    """Makes the device of a map the current one: Triton launches there."""
    return torch.cuda.device(x.device if x.is_cuda else -1)


@lru_cache(maxsize=4096)
def _prepare_forward(shape: Shape, residual: bool, path: str | None) -> Prepared:
    plan = make_plan(shape, False, path)

    def constants(cut: Cut, steps: Steps) -> dict[str, Any]:
        strips = strip_tile(shape, cut, backward=False)
        return dict(
            _constants(shape, cut, residual, strips),
            ONE_TILE=strips.strip >= shape.longest,
            MEANS=steps[0],
            GATES=steps[1],
            PRODUCT=steps[2],
        )

    strips = 2 * _strips(shape) + shape.images * 2 * shape.num_groups
    return Prepared(_launches(shape, plan, constants, True), strips, _partials(shape, plan))


@lru_cache(maxsize=4096)
def _prepare_backward(shape: Shape, residual: bool, wants_x: bool, path: str | None) -> Prepared:
    plan = make_plan(shape, True, path)
    partials = _partials(shape, plan)

    def constants(cut: Cut, steps: Steps) -> dict[str, Any]:
        rows, taps, along = weight_tile(shape, cut)
        return dict(
            _constants(shape, cut, residual, strip_tile(shape, cut, backward=True)),
            BLOCK_ROWS=rows,
            BLOCK_TAPS=taps,
            BLOCK_ALONG=along,
            PARTIAL=partials > 0,
            SUMS=steps[0],
            GATES=steps[1],
            PRODUCT=steps[2] and wants_x,
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
    return tuple(
        Launch(
            (shape.images * (shape.channels // cut.channels) * cut.splits, 1, 1),
            (
                shape.images,
                shape.height,
                shape.width // vector(shape),
                cut.splits,
                cut.split_rows,
                plan.cut.splits,
            ),
            constants(cut, steps),
        )
        for cut, steps in chosen
    )


def _constants(shape: Shape, cut: Cut, residual: bool, strips: StripTile) -> dict[str, Any]:
    """The constants that both directions share."""
    block_c, block_h, block_w = cut.tile
    return dict(
        C=shape.channels,
        CHANNELS=cut.channels,
        GROUP=shape.group,
        FAN=shape.fan,
        K=shape.kernel_size,
        VECTOR=vector(shape),
        CHANNELS_LAST=shape.channels_last,
        RESIDUAL=residual,
        BLOCK_C=block_c,
        BLOCK_H=block_h,
        BLOCK_W=block_w,
        BLOCK_GROUPS=strips.groups,
        BLOCK_GROUP=strips.group,
        BLOCK_STRIP=strips.strip,
        num_warps=cut.num_warps,
        enable_fp_fusion=True,  # multiply and add in one; Triton's default is about to change
    )
