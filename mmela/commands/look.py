"""``mmela look``: where the attention of a network looks, and what its predictions rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint

from mmela.commands.predict import _names_for, find_images
from mmela.engine.checkpoints.reading import checkpoints_as_data
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.weights import check_checkpoint
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError, did_you_mean
from mmela.visualization.cam import class_activation_map, share_inside
from mmela.visualization.figures import Panel, map_figure
from mmela.visualization.gates import GateMaps, record_gates
from mmela.visualization.view import View, crop_to_image, cropped, gate_panels, view_of


class Looker:
    """A trained network and the test pipeline that it is shown images through.

    Args:
        cfg: A config of :func:`mmela.engine.load_config`.
        checkpoint: A checkpoint file.
        device: None takes a GPU where there is one.

    Raises:
        UserError: If the toolbox is missing or the file is no checkpoint.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str | None = None) -> None:
        trust = cfg.get('trust_checkpoint', False)
        check_checkpoint(checkpoint, trust=trust)
        check_environment(scope_of(cfg))
        init_default_scope(scope_of(cfg))
        node = cfg.model.copy()
        node.pop('pretrained', None)
        if 'data_preprocessor' in cfg:
            node.setdefault('data_preprocessor', cfg.data_preprocessor)
        self.model = revert_sync_batchnorm(MODELS.build(node))
        with checkpoints_as_data(trust):
            loaded = load_checkpoint(self.model, checkpoint, map_location='cpu')
        self.model.dataset_meta = loaded.get('meta', {}).get('dataset_meta')
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

        steps = [
            step
            for step in self.cfg.test_dataloader.dataset.pipeline
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
        with torch.no_grad(), record_gates(self.model) as record:
            self.model(**view.batch, mode='predict')
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
            layers: Names of modules; without any, those that the backbone's last outputs or the
                neck's outputs come from.
            label: Index of a class; None means what is predicted.
        """
        names = list(layers) or self._default_layers()
        modules = dict(self.model.named_modules())
        for name in names:
            if name not in modules:
                raise UserError(
                    f'--layers: there is no module {name!r}' + did_you_mean(name, modules)
                )
        chosen = [modules[name] for name in names]
        if label is None and scope_of(self.cfg) == 'mmseg':
            label = self._largest_class(view)
        found = class_activation_map(self.model, chosen, view.batch, method, label)
        return crop_to_image(found[0], view.padded, view.box)

    def _largest_class(self, view: View) -> int:
        """The class that the most pixels are predicted to be, background aside."""
        with torch.no_grad():
            sample = self.model(**view.batch, mode='predict')[0]
        labels, counts = sample.pred_sem_seg.data.unique(return_counts=True)
        classes = (self.model.dataset_meta or {}).get('classes') or ()
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


def look(
    looker: Looker,
    inputs: str | Sequence[str],
    out: str,
    *,
    layers: Sequence[str] = (),
    stretch: bool = False,
    cam: str | None = None,
    label: int | None = None,
    compare: Looker | None = None,
    save_npz: bool = False,
) -> Iterator[str]:
    """Draws figures of attention maps, or of class activation maps, one for each image.

    Args:
        looker: The network.
        inputs: Images, folders or patterns.
        out: Folder for the figures.
        layers: Names of layers, or patterns; none means all attention layers.
        stretch: Whether each panel stretches its colours to its own values. Otherwise gates are
            drawn from 0 to 1 and factors from 0 to 2.
        cam: A method for class activation maps in place of the gates.
        label: The class that they explain; None means what is predicted.
        compare: Another network, whose class activation map is drawn beside it.
        save_npz: Whether to write the arrays beside the figures.

    Yields:
        The path of each figure.
    """
    images = find_images(inputs)
    names = _names_for(images)
    Path(out).mkdir(parents=True, exist_ok=True)
    others = compare.views(images) if compare else [None] * len(images)
    for image, view, other in zip(images, looker.views(images), others, strict=True):
        arrays: dict[str, np.ndarray] = {}
        if cam is None:
            rows = {
                name: gate_panels(maps, stretch)
                for name, maps in looker.gates(view, layers).items()
            }
        else:
            panels = [Panel(cam, looker.cam(view, cam, layers, label), None if stretch else (0, 1))]
            if compare is not None and other is not None:
                panels.append(
                    Panel(
                        f'{cam}, compared',
                        compare.cam(other, cam, (), label),
                        None if stretch else (0, 1),
                    )
                )
            rows = {Path(image).name: panels}
        for name, row in rows.items():
            arrays.update({f'{name}/{panel.title}': panel.values for panel in row})
        path = str(Path(out, f'{names[image]}.png'))
        map_figure(view.image, rows, '' if cam else image).savefig(path, dpi=150)
        if save_npz:
            np.savez_compressed(str(Path(out, f'{names[image]}.npz')), allow_pickle=False, **arrays)
        yield path


def pointing_score(looker: Looker, cam: str, limit: int | None = None) -> dict[str, Any]:
    """How much of the class activation maps lies inside the objects of the test set.

    Args:
        looker: The network; its config's test set has boxes or label maps.
        cam: A method.
        limit: As many images at most.

    Returns:
        ``share``, the mean share of the map inside boxes or masks, ``area``, the mean share of the
        image that they cover (what a map without any information would have), and ``images``.

    Raises:
        UserError: If the test set has neither.
    """
    init_default_scope(scope_of(looker.cfg))
    dataset = DATASETS.build(looker.cfg.test_dataloader.dataset)
    shares, areas = [], []
    for index in range(min(len(dataset), limit or len(dataset))):
        view = looker.view(dataset[index])
        mask = _objects(view)
        if mask is None:
            raise UserError('--dataset: expected a test set with boxes or label maps, got none.')
        if not mask.any():
            continue
        values = looker.cam(view, cam)
        shares.append(float(share_inside(values[None], mask[None])[0]))
        areas.append(float(mask.mean()))
    return {
        'share': float(np.nanmean(shares)) if shares else None,
        'area': float(np.mean(areas)) if areas else None,
        'images': len(shares),
    }


def _objects(view: View) -> np.ndarray | None:
    """True inside the true boxes or masks of a view, shape (H, W)."""
    sample = view.batch['data_samples'][0]
    height, width = view.box[1] - view.box[0], view.box[3] - view.box[2]
    mask = np.zeros((height, width), bool)
    if 'gt_instances' in sample:
        boxes: Any = sample.gt_instances.bboxes
        boxes = getattr(boxes, 'tensor', boxes)
        scale = sample.metainfo.get('scale_factor', (1, 1))
        for x1, y1, x2, y2 in (boxes.cpu().numpy() * np.array([*scale, *scale])).round():
            mask[int(y1) : int(y2), int(x1) : int(x2)] = True
        return mask
    if 'gt_sem_seg' in sample:
        from cv2 import INTER_NEAREST, resize

        labels = sample.gt_sem_seg.data[0].cpu().numpy().astype(np.uint8)
        labels = resize(labels, (width, height), interpolation=INTER_NEAREST)
        foreground: np.ndarray = (labels > 0) & (labels < 255)
        return foreground
    return None


def _without_keys(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Steps that do not ask for what only a data set provides."""
    kept = []
    for step in steps:
        step = dict(step)
        if 'meta_keys' in step:
            step['meta_keys'] = tuple(k for k in step['meta_keys'] if k != 'seg_map_path')
        kept.append(step)
    return kept
