"""The names of the tensors of a YOLOX, Megvii's and MMDetection's.

Megvii's names (Megvii-BaseDetection/YOLOX, ``yolox/models``) are also those of the PyTorch port
that the authors of ELA use. All names of a network of a given depth are generated, instead of
rewriting those that are found, so that missing and unknown tensors are detected.
"""

from __future__ import annotations

from collections.abc import Iterator

NamePair = tuple[str, str]  # Megvii's, MMDetection's

_BATCH_NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
_NECK_CONVS = {'lateral_conv0': 'reduce_layers.0', 'reduce_conv1': 'reduce_layers.1'}
_NECK_DOWNSAMPLES = {'bu_conv2': 'downsamples.0', 'bu_conv1': 'downsamples.1'}
_NECK_CSP_LAYERS = {
    'C3_p4': 'top_down_blocks.0',
    'C3_p3': 'top_down_blocks.1',
    'C3_n3': 'bottom_up_blocks.0',
    'C3_n4': 'bottom_up_blocks.1',
}
_CSP_CONVS = {'conv1': 'main_conv', 'conv2': 'short_conv', 'conv3': 'final_conv'}
_NUM_LEVELS = 3


def yolox_names(depth: int, depthwise: bool) -> dict[str, str]:
    """Every tensor of a YOLOX.

    Args:
        depth: Blocks in the first stage and in each CSP layer of the neck: 1 in nano, tiny and s,
            2 in m, 3 in l, 4 in x.
        depthwise: Whether the 3x3 convolutions are separable, as in nano.

    Returns:
        Megvii's names to MMDetection's, in the order of the network: 642 for nano.
    """
    return dict(
        [*_backbone(depth, depthwise), *_neck(depth, depthwise), *_head(depthwise)],
    )


def _backbone(depth: int, depthwise: bool) -> Iterator[NamePair]:
    theirs, ours = 'backbone.backbone', 'backbone'
    yield from _conv(f'{theirs}.stem.conv', f'{ours}.stem.conv')
    for number, blocks in enumerate((depth, 3 * depth, 3 * depth, depth), start=1):
        dark, stage = f'{theirs}.dark{number + 1}', f'{ours}.stage{number}'
        yield from _conv3x3(f'{dark}.0', f'{stage}.0', depthwise)
        last = 1
        if number == 4:  # spatial pyramid pooling, between the convolution and the CSP layer
            for conv in ('conv1', 'conv2'):
                yield from _conv(f'{dark}.1.{conv}', f'{stage}.1.{conv}')
            last = 2
        yield from _csp_layer(f'{dark}.{last}', f'{stage}.{last}', blocks, depthwise)


def _neck(depth: int, depthwise: bool) -> Iterator[NamePair]:
    for theirs, ours in _NECK_CONVS.items():
        yield from _conv(f'backbone.{theirs}', f'neck.{ours}')
    for theirs, ours in _NECK_DOWNSAMPLES.items():
        yield from _conv3x3(f'backbone.{theirs}', f'neck.{ours}', depthwise)
    for theirs, ours in _NECK_CSP_LAYERS.items():
        yield from _csp_layer(f'backbone.{theirs}', f'neck.{ours}', depth, depthwise)


def _head(depthwise: bool) -> Iterator[NamePair]:
    for level in range(_NUM_LEVELS):
        # MMDetection counts the first layers of the head as part of the neck.
        yield from _conv(f'head.stems.{level}', f'neck.out_convs.{level}')
        for branch in ('cls', 'reg'):
            for i in range(2):
                yield from _conv3x3(
                    f'head.{branch}_convs.{level}.{i}',
                    f'bbox_head.multi_level_{branch}_convs.{level}.{i}',
                    depthwise,
                )
        for branch in ('cls', 'reg', 'obj'):
            for name in ('weight', 'bias'):
                yield (
                    f'head.{branch}_preds.{level}.{name}',
                    f'bbox_head.multi_level_conv_{branch}.{level}.{name}',
                )


def _csp_layer(theirs: str, ours: str, blocks: int, depthwise: bool) -> Iterator[NamePair]:
    for their_conv, our_conv in _CSP_CONVS.items():
        yield from _conv(f'{theirs}.{their_conv}', f'{ours}.{our_conv}')
    for i in range(blocks):
        yield from _conv(f'{theirs}.m.{i}.conv1', f'{ours}.blocks.{i}.conv1')
        yield from _conv3x3(f'{theirs}.m.{i}.conv2', f'{ours}.blocks.{i}.conv2', depthwise)


def _conv3x3(theirs: str, ours: str, depthwise: bool) -> Iterator[NamePair]:
    if depthwise:
        yield from _conv(f'{theirs}.dconv', f'{ours}.depthwise_conv')
        yield from _conv(f'{theirs}.pconv', f'{ours}.pointwise_conv')
    else:
        yield from _conv(theirs, ours)


def _conv(theirs: str, ours: str) -> Iterator[NamePair]:
    """A convolution without bias and its BatchNorm."""
    yield f'{theirs}.conv.weight', f'{ours}.conv.weight'
    for name in _BATCH_NORM:
        yield f'{theirs}.bn.{name}', f'{ours}.bn.{name}'
