"""Renames the tensors of a YOLOX, and refuses checkpoints of other networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convert_yolox.names import yolox_names
from mmela.attentions.ela import VARIANTS
from mmela.errors import UserError

#: Sizes by channels of the stem, depth, and whether the 3x3 convolutions are separable.
_SIZES = {
    (16, 1, True): 'nano',
    (24, 1, False): 'tiny',
    (32, 1, False): 's',
    (48, 2, False): 'm',
    (64, 3, False): 'l',
    (80, 4, False): 'x',
}
#: The authors' attention layers that their network uses, and their channels.
_ATTENTIONS = {'backbone.feat06': 64, 'backbone.feat1': 128, 'backbone.feat2': 256}
#: Layers that it builds and never uses.
_UNUSED_ATTENTIONS = ('backbone.feat5', 'backbone.feat10')
_ELA_TENSORS = ('conv.weight', 'gn.weight', 'gn.bias')
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class ConvertedYOLOX:
    """A YOLOX under MMDetection's names.

    Attributes:
        weights: The state dict.
        size: ``'nano'`` to ``'x'``, or None for another size.
        num_classes: Channels of the classifier.
        variant: Variant of ELA in the neck, or None without attention.
        dropped: Names of tensors that were left out because the source never used them.
    """

    weights: dict[str, Tensor]
    size: str | None
    num_classes: int
    variant: str | None
    dropped: tuple[str, ...]

    @property
    def title(self) -> str:
        """A description such as ``'YOLOX-nano, 20 classes, ELA-T in the neck'``."""
        name = f'YOLOX-{self.size}' if self.size else 'YOLOX of another size'
        attention = f', ELA-{self.variant} in the neck' if self.variant else ''
        return f'{name}, {self.num_classes} classes{attention}'


def convert_weights(weights: Mapping[str, Any], *, attention: bool) -> ConvertedYOLOX:
    """Renames the tensors of a YOLOX.

    Args:
        weights: State dict with Megvii's names.
        attention: Whether it may hold the attention of ELA's authors.

    Returns:
        The same tensors with MMDetection's names.

    Raises:
        UserError: If a tensor is missing or does not belong to a YOLOX.
    """
    # Names of a network that was saved inside a DataParallel.
    if weights and all(name.startswith('module.') for name in weights):
        weights = {name.removeprefix('module.'): value for name, value in weights.items()}
    stem = _stem(weights)
    depthwise = 'backbone.backbone.dark2.0.dconv.conv.weight' in weights
    depth = sum(
        f'backbone.backbone.dark2.1.m.{i}.conv1.conv.weight' in weights for i in range(len(weights))
    )
    names = yolox_names(max(depth, 1), depthwise)
    size = _SIZES.get((stem, depth, depthwise))
    title = f'YOLOX-{size}' if size else f'a YOLOX of depth {depth}'
    if missing := [name for name in names if name not in weights]:
        raise UserError(
            f'expected the {len(names)} tensors of {title}, but {len(missing)} are missing: '
            f'{some(missing)}.'
        )
    variant, attention_names, dropped = _attentions(weights)
    if (variant or dropped) and not attention:
        raise UserError(
            f'it has attention ({some([*attention_names, *dropped])}), unlike the releases of '
            'Megvii; use ela_code_yolox.py for a checkpoint of the authors of ELA.'
        )
    names.update(attention_names)
    if unexpected := [name for name in weights if name not in names and name not in dropped]:
        raise UserError(
            f'{len(unexpected)} tensors belong neither to {title} nor to ELA in its neck: '
            f'{some(unexpected)}.'
        )
    return ConvertedYOLOX(
        weights={ours: weights[theirs] for theirs, ours in names.items()},
        size=size,
        num_classes=weights['head.cls_preds.0.bias'].numel(),
        variant=variant,
        dropped=dropped,
    )


def _stem(weights: Mapping[str, Any]) -> int:
    """Channels of the stem; raises if this is another network."""
    if any(name.startswith('bbox_head.multi_level_') for name in weights):
        raise UserError("its tensors have MMDetection's names already; no conversion is needed.")
    if 'backbone.backbone.dark2.1.layer1.conv.weight' in weights:
        raise UserError(
            'expected YOLOX-nano, tiny, s, m, l or x, got YOLOX-Darknet53, which has no config in '
            'MMDetection.'
        )
    stem = weights.get('backbone.backbone.stem.conv.conv.weight')
    if stem is None:
        raise UserError(
            'not a YOLOX: expected a tensor backbone.backbone.stem.conv.conv.weight, got '
            f'{some(list(weights)) if weights else "no tensors"}.'
        )
    return stem.shape[0] if stem.dim() else 0


def _attentions(
    weights: Mapping[str, Any],
) -> tuple[str | None, dict[str, str], tuple[str, ...]]:
    """The variant of ELA, the new names of its tensors, and the unused tensors."""
    dropped = tuple(
        name for name in weights if name.startswith(tuple(f'{x}.' for x in _UNUSED_ATTENTIONS))
    )
    found = [x for x in _ATTENTIONS if any(name.startswith(f'{x}.') for name in weights)]
    if not found:
        return None, {}, dropped
    names: dict[str, str] = {}
    shapes = set()
    for layer, channels in _ATTENTIONS.items():
        for tensor in _ELA_TENSORS:
            names[f'{layer}.{tensor}'] = f'neck.ela_{channels}.{tensor}'
            found_tensor = weights.get(f'{layer}.{tensor}')
            if found_tensor is None:
                there = [name for name in weights if name.startswith(f'{layer}.')]
                raise UserError(
                    f'{layer}: expected ELA with {", ".join(_ELA_TENSORS)}, got '
                    f"{some(there) if there else 'no tensors'}; the authors' other attentions "
                    'cannot be converted.'
                )
            if found_tensor.shape[:1] != (channels,):
                raise UserError(
                    f'{layer}.{tensor}: expected {channels} channels as in YOLOX-nano, got the '
                    f'shape {tuple(found_tensor.shape)}.'
                )
        shapes.add(tuple(weights[f'{layer}.conv.weight'].shape[1:]))
    return _variant_of(shapes), names, dropped


def _variant_of(shapes: set[tuple[int, ...]]) -> str:
    by_shape = {(v.channels_per_conv_group, v.kernel_size): name for name, v in VARIANTS.items()}
    if len(shapes) != 1 or (shape := next(iter(shapes))) not in by_shape:
        expected = ', '.join(f'{name} {shape}' for shape, name in by_shape.items())
        raise UserError(
            "the weights of ELA's convolutions have the shape (C, channels per group, length): "
            f'expected {expected} for the last two, got {", ".join(map(str, sorted(shapes)))}.'
        )
    return by_shape[shape]


def some(names: Sequence[str]) -> str:
    """The first names of a list and the number of the others."""
    shown = ', '.join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f'{shown} and {more} more' if more > 0 else shown
