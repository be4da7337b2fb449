"""A trained network that is looked into: its gates, and what its predictions rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import load_checkpoint

from mmela.analysis.input_shape import test_pipeline
from mmela.commands.networks import (
    check_device,
    check_fit,
    class_count,
    dataset_meta,
    read_weights,
)
from mmela.engine.checkpoints.reading import checkpoints_as_data
from mmela.engine.checks.environment import check_environment
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError, did_you_mean
from mmela.visualization.cam import class_activation_map
from mmela.visualization.gates import GateMaps, record_gates
from mmela.visualization.view import View, crop_to_image, cropped, view_of


class Looker:
    """A trained network and the test pipeline that it is shown images through.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.
        checkpoint: A checkpoint file or its address.
        device: None takes a GPU where there is one.

    Raises:
        UserError: If the toolbox or the device is missing, or the file is no checkpoint or one of
            another network.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str | None = None) -> None:
        check_device(device)
        contents = read_weights(cfg, checkpoint)
        check_environment(scope_of(cfg))
        init_default_scope(scope_of(cfg))
        node = cfg.model.copy()
        node.pop('pretrained', None)
        if 'data_preprocessor' in cfg:
            node.setdefault('data_preprocessor', cfg.data_preprocessor)
        self.model = revert_sync_batchnorm(MODELS.build(node))
        check_fit(self.model, contents, checkpoint)
        with checkpoints_as_data(cfg.get('trust_checkpoint', False)):
            load_checkpoint(self.model, checkpoint, map_location='cpu')
        self.model.dataset_meta = dataset_meta(cfg, contents, self.model)
        self.model.to(device or get_device()).eval()
        self.cfg = cfg

    def view(self, data: Mapping[str, Any]) -> View:
        """An image behind the test pipeline, as the network sees it.

        Args:
            data: What the pipeline returned: ``inputs`` and ``data_samples``.
        """
        data = {'inputs': [data['inputs']], 'data_samples': [data['data_samples']]}
        if scope_of(self.cfg) == 'mmpretrain':
            data['inputs'] = torch.stack(data['inputs'])
        with torch.no_grad():
            batch = self.model.data_preprocessor(data, False)
        return view_of(batch, self.model.data_preprocessor)

    def views(self, images: Sequence[str]) -> Iterator[View]:
        """Image files as the network sees them."""
        from mmcv.transforms import Compose

        init_default_scope(scope_of(self.cfg))  # another network may have set its own
        steps = [
            step
            for step in test_pipeline(self.cfg)
            if not str(step['type']).rpartition('.')[2].startswith('Load')
            or str(step['type']).endswith('LoadImageFromFile')
        ]
        pipeline = Compose(_without_keys(steps))
        for image in images:
            yield self.view(pipeline(dict(img_path=image, img_id=0)))

    def gates(self, view: View, layers: Sequence[str] = ()) -> dict[str, GateMaps]:
        """The gates of the attention layers for one view, cropped to the image.

        Args:
            view: The view.
            layers: Names or patterns; none means all.

        Raises:
            UserError: If there is no such layer.
        """
        # Not by 'predict', which may run the network on windows or several times.
        with torch.no_grad(), record_gates(self.model) as record:
            self.model(**view.batch, mode='tensor')
        if not record:
            raise UserError(
                'the network has no attention layer to look at; --cam looks at any network.'
            )
        chosen = [
            name for name in record if not layers or any(fnmatchcase(name, p) for p in layers)
        ]
        if not chosen:
            raise UserError(
                f'--layers: expected names of {", ".join(record)}, got {" ".join(layers)}'
                + did_you_mean(layers[0], record)
            )
        return {name: cropped(record[name][0], view) for name in chosen}

    def cam(
        self, view: View, method: str, layers: Sequence[str] = (), label: int | None = None
    ) -> np.ndarray:
        """The class activation map of one view, cropped to the image.

        Args:
            view: The view.
            method: See :func:`mmela.visualization.cam.class_activation_map`.
            layers: Names of modules, or patterns; without any, those that the backbone's last
                outputs or the neck's outputs come from.
            label: Index of a class; None means what is predicted.

        Raises:
            UserError: If there is no such layer or class.
        """
        self.check_label(label)
        modules = {name: module for name, module in self.model.named_modules() if name}
        patterns = list(layers) or self._default_layers()
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in modules):
                raise UserError(
                    f'--layers: there is no module {pattern!r}' + did_you_mean(pattern, modules)
                )
        chosen = [
            module
            for name, module in modules.items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ]
        if label is None and scope_of(self.cfg) == 'mmseg':
            label = self._largest_class(view)
        found = class_activation_map(self.model, chosen, view.batch, method, label)
        return crop_to_image(found[0], view.padded, view.box)

    def check_label(self, label: int | None) -> None:
        """Checks that the network has a class.

        Args:
            label: Its index; None means what is predicted.

        Raises:
            UserError: If it does not.
        """
        count = class_count(self.model)
        if label is not None and not 0 <= label < (label + 1 if count is None else count):
            raise UserError(f'--label: expected a class from 0 to {(count or 1) - 1}, got {label}.')

    def _largest_class(self, view: View) -> int:
        """The class that the most pixels are predicted to be, background aside."""
        with torch.no_grad():
            sample = self.model(**view.batch, mode='predict')[0]
        labels, counts = sample.pred_sem_seg.data.unique(return_counts=True)
        classes = self.model.dataset_meta['classes']
        pixels = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        if len(pixels) > 1 and classes and str(classes[0]).lower() == 'background':
            pixels.pop(0, None)
        return max(pixels, key=lambda label: pixels[label])

    def _default_layers(self) -> list[str]:
        """The modules that return what the neck returns, or the last map of the backbone."""
        from mmela.plugins.network_probe import probe

        part = 'neck' if scope_of(self.cfg) == 'mmdet' and self.model.with_neck else 'backbone'
        seen = probe(getattr(self.model, part), f'the {part}')
        outputs = seen.outputs if part == 'neck' else seen.outputs[-1:]
        names = [
            min(makers, key=len)
            for out in outputs
            if (makers := [n for n, outs in seen.by_module.items() if any(o is out for o in outs)])
        ]
        if not names:  # something is done with the last map before it leaves
            names = [name for name in seen.places() if '.' not in name and name != 'outputs'][-1:]
        return [f'{part}.{name}' for name in names]


def _without_keys(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Steps that do not ask for what only a data set provides."""
    kept = []
    for step in steps:
        step = dict(step)
        if 'meta_keys' in step:
            step['meta_keys'] = tuple(k for k in step['meta_keys'] if k != 'seg_map_path')
        kept.append(step)
    return kept
