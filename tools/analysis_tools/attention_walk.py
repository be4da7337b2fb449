"""Print the cost of each attention, and the steps from Coordinate Attention to ELA.

FLOPs are those of tools/analysis_tools/get_flops.py for one image: multiply-adds of convolutions
and fully connected layers, norms, and pooling. They leave out activations and products.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports():
    import torch

    from mmela.analysis.flop_count import count
    from mmela.attentions import CBAM, ECA, ELA, SE, Attention, CoordAtt

#: Each step changes one argument and keeps the changes before it; the last one is ELA-B.
STEPS: dict[str, dict] = {
    'Coordinate Attention': {},
    'no reduction of the width': dict(reduction=1),
    'GroupNorm in place of BatchNorm': dict(norm_cfg=dict(type='GN', num_groups=16)),
    'gates straight from the norm': dict(reduction=None),
    'each strip by itself': dict(joint=False),
    'each channel by itself': dict(group_size=1),
    'a kernel of 7 along the strip': dict(kernel_size=7),
    'no bias: ELA-B': dict(bias=False),
}
ATTENTIONS: dict[str, Callable[[int], Attention]] = {
    'SE': SE,
    'ECA': ECA,
    'CBAM': CBAM,
    'CoordAtt': CoordAtt,
    **{f'ELA-{variant}': partial(ELA, variant=variant) for variant in 'TBSL'},
}

#: Width, side and number of the maps that get a layer, for an image of 224 x 224.
NETWORKS = {
    'one layer': [(256, 56, 1)],
    'MobileNetV2': [  # after the depthwise convolution of blocks that expand their input
        (96, 56, 1), (144, 56, 1), (144, 28, 1), (192, 28, 2), (192, 14, 1), (384, 14, 4),
        (576, 14, 2), (576, 7, 1), (960, 7, 3),
    ],
    'ResNet-50': [(64, 56, 3), (128, 28, 4), (256, 14, 6), (512, 7, 3)],  # after conv2
}  # fmt: skip


@cache
def cost(build: Callable[[int], Attention], width: int, side: int) -> tuple[int, int]:
    """Parameters and FLOPs of one layer.

    Args:
        build: Builds the layer for a width.
        width: Channels of the map.
        side: Height and width of the map.

    Returns:
        Parameters and FLOPs.
    """
    counted = count(build(width).eval(), torch.zeros(1, width, side, side))
    return counted.params, counted.flops + counted.pooling


def rows(layers: dict[str, Callable[[int], Attention]]) -> Iterable[list[str]]:
    """A row for each layer: its name, then parameters and FLOPs in each network."""
    for name, build in layers.items():
        row = [name]
        for places in NETWORKS.values():
            costs = [(n, *cost(build, width, side)) for width, side, n in places]
            row += [f'{sum(n * p for n, p, _ in costs):,}', f'{sum(n * f for n, _, f in costs):,}']
        yield row


def walk() -> dict[str, tuple[str, Callable[[int], Attention]]]:
    """The steps by name: the changed argument as code, and a function that builds the layer."""
    steps, arguments = {}, {}
    for name, change in STEPS.items():
        arguments = {**arguments, **change}
        written = ', '.join(f'{key}={_written(value)}' for key, value in change.items())
        steps[name] = f'`{written}`' if written else '', partial(CoordAtt, **arguments)
    return steps


def _written(value: object) -> str:
    if isinstance(value, dict):
        return f'dict({", ".join(f"{key}={item!r}" for key, item in value.items())})'
    return repr(value)


def table(head: list[str], body: Iterable[list[str]]) -> str:
    """A table in Markdown."""
    columns = [*head]
    for network in NETWORKS:
        columns += [f'parameters, {network}', 'FLOPs']
    rule = ['---'] * len(head) + ['---:'] * (len(columns) - len(head))
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in (columns, rule, *body))


def main() -> int:
    """Runs the command.

    Returns:
        The exit status.
    """
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(table(['layer'], rows(ATTENTIONS)), end='\n\n')
    steps = walk()
    changes = (change for change, _ in steps.values())
    body = rows({name: build for name, (_, build) in steps.items()})
    numbered = (
        [str(number), row[0], change, *row[1:]]
        for number, (change, row) in enumerate(zip(changes, body, strict=True))
    )
    print(table(['step', 'what it is', 'change'], numbered))
    return 0


if __name__ == '__main__':
    sys.exit(main())
