"""``mmela look``: where the attention of a network looks, and what its predictions rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS, init_default_scope

from mmela.commands.inputs import find_images, output_names
from mmela.commands.looker import Looker
from mmela.engine.toolboxes import scope_of
from mmela.errors import UserError
from mmela.visualization.cam import share_inside
from mmela.visualization.figures import Panel, map_figure
from mmela.visualization.view import View, gate_panels

__all__ = ['Looker', 'look', 'pointing_score']


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
        layers: Names of layers, or patterns, in both networks; none means all attention layers,
            or for a class activation map the outputs of the neck or backbone.
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
    names = output_names(images)
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
            shown = [(looker, view), *([(compare, other)] if compare and other else [])]
            panels = [
                Panel(title, network.cam(seen, cam, layers, label), None if stretch else (0, 1))
                for title, (network, seen) in zip(_titles(cam, shown), shown, strict=True)
            ]
            rows = {Path(image).name: panels}
        for name, row in rows.items():
            arrays.update({f'{name}/{panel.title}': panel.values for panel in row})
        path = str(Path(out, f'{names[image]}.png'))
        map_figure(view.image, rows, '' if cam else image).savefig(path, dpi=150)
        if save_npz:
            np.savez_compressed(str(Path(out, f'{names[image]}.npz')), allow_pickle=False, **arrays)
        yield path


def _titles(cam: str, shown: Sequence[tuple[Looker, View]]) -> list[str]:
    """The method, and for two networks the names of their configs too."""
    if len(shown) == 1:
        return [cam]
    names = [Path(network.cfg.filename or 'config').stem for network, _ in shown]
    if names[0] == names[1]:
        names = [f'{name}, {which}' for name, which in zip(names, ('first', 'second'), strict=True)]
    return [f'{cam}, {name}' for name in names]


def pointing_score(
    looker: Looker,
    cam: str,
    limit: int | None = None,
    *,
    layers: Sequence[str] = (),
    label: int | None = None,
) -> dict[str, Any]:
    """How much of the class activation maps lies inside the objects of the test set.

    Args:
        looker: The network; its config's test set has boxes or label maps.
        cam: A method.
        limit: As many images at most.
        layers: See :meth:`Looker.cam`.
        label: The class that the maps explain, whose objects alone count then; None means what is
            predicted, and all objects.

    Returns:
        ``share``, the mean share of the map inside boxes or masks, ``area``, the mean share of the
        image that they cover (what a map without any information would have), and ``images``.

    Raises:
        UserError: If the test set has neither, or there is no such layer or class.
    """
    looker.check_label(label)
    init_default_scope(scope_of(looker.cfg))
    dataset = DATASETS.build(looker.cfg.test_dataloader.dataset)
    shares, areas = [], []
    for index in range(min(len(dataset), limit or len(dataset))):
        view = looker.view(dataset[index])
        mask = _objects(view, label)
        if mask is None:
            raise UserError('--dataset: expected a test set with boxes or label maps, got none.')
        if not mask.any():
            continue
        values = looker.cam(view, cam, layers, label)
        shares.append(float(share_inside(values[None], mask[None])[0]))
        areas.append(float(mask.mean()))
    return {
        'share': float(np.nanmean(shares)) if shares else None,
        'area': float(np.mean(areas)) if areas else None,
        'images': len(shares),
    }


def _objects(view: View, label: int | None) -> np.ndarray | None:
    """True inside the true boxes or masks of a view, of one class or of all, shape (H, W)."""
    sample = view.batch['data_samples'][0]
    height, width = view.box[1] - view.box[0], view.box[3] - view.box[2]
    mask = np.zeros((height, width), bool)
    if 'gt_instances' in sample:
        boxes: Any = sample.gt_instances.bboxes
        boxes = getattr(boxes, 'tensor', boxes)
        if label is not None:
            boxes = boxes[sample.gt_instances.labels == label]
        scale = sample.metainfo.get('scale_factor', (1, 1))
        for x1, y1, x2, y2 in (boxes.cpu().numpy() * np.array([*scale, *scale])).round():
            mask[int(y1) : int(y2), int(x1) : int(x2)] = True
        return mask
    if 'gt_sem_seg' in sample:
        from cv2 import INTER_NEAREST, resize

        labels = sample.gt_sem_seg.data[0].cpu().numpy().astype(np.uint8)
        labels = resize(labels, (width, height), interpolation=INTER_NEAREST)
        objects: np.ndarray = (labels > 0) & (labels < 255) if label is None else labels == label
        return objects
    return None
