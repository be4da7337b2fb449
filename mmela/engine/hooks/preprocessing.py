"""Tells weights that were trained on other pictures than a config shows them.

Nothing else would: the network is the same, every tensor finds its place, and it sees noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


def note_on_pictures(meta: Mapping[str, Any], cfg: Mapping[str, Any]) -> str | None:
    """Compares the pictures that a checkpoint says it was trained on with those of a config.

    Args:
        meta: ``meta`` of a checkpoint. Under ``data_preprocessor`` the converters of
            ``tools/model_converters`` write ``mean``, ``std`` and ``bgr_to_rgb`` by MMEngine's
            rules, and under ``converted_for`` the config that goes with it.
        cfg: A config.

    Returns:
        How they differ, None where they do not or the checkpoint says nothing.
    """
    theirs = meta.get('data_preprocessor')
    if not isinstance(theirs, Mapping):
        return None
    model = cfg['model']
    model = model.get('module', model)  # inside test-time augmentation
    ours = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    there, here = _Pictures.of(theirs), _Pictures.of(ours)
    if there == here:
        return None
    way_out = f'; it is for {meta["converted_for"]}' if 'converted_for' in meta else ''
    return f'the checkpoint was trained on pictures in {there}, here they are {here}{way_out}.'


class _Pictures(NamedTuple):
    """Order of the channels, and what is subtracted from them and divides them."""

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, preprocessor: Mapping[str, Any]) -> _Pictures:
        swapped = preprocessor.get('bgr_to_rgb') or preprocessor.get('rgb_to_bgr')
        return cls(
            channels='RGB' if swapped else 'BGR',  # MMCV reads BGR
            mean=_three(preprocessor.get('mean') or (0,)),
            std=_three(preprocessor.get('std') or (1,)),
        )

    def __str__(self) -> str:
        if (self.mean, self.std) == (_three((0,)), _three((1,))):
            return f'{self.channels} from 0 to 255'
        mean, std = (', '.join(f'{v:g}' for v in values) for values in (self.mean, self.std))
        return f'{self.channels} (mean {mean}, std {std})'


def _three(values: Sequence[float]) -> tuple[float, ...]:
    """One number a channel, without what 0.485 * 255 has in its last digits."""
    return tuple(round(value, 3) for value in values) * (3 if len(values) == 1 else 1)
