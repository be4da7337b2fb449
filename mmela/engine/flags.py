"""What the flags of tools/train.py and tools/test.py change in a config."""

from __future__ import annotations

import os
import sys
from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict

from mmela.engine.dataset_configs import iter_datasets
from mmela.engine.log import log_once
from mmela.engine.toolboxes import scope_of, toolbox_of
from mmela.errors import UserError

#: The toolboxes' own defaults for test-time augmentation; MMSegmentation has none.
_TTA_MODELS = {
    'mmdet': dict(
        type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
    ),
    'mmpretrain': dict(type='AverageClsScoreTTA'),
}


def use_amp(cfg: Config) -> None:
    """Switches to automatic mixed precision (``--amp``).

    Raises:
        UserError: If its optimizer wrapper is not a plain one.
    """
    wrapper = cfg.get('optim_wrapper') or ConfigDict()
    kind = wrapper.get('type', 'OptimWrapper')
    if kind == 'AmpOptimWrapper':
        log_once('--amp: the config trains in mixed precision already.')
    elif kind == 'OptimWrapper':
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    else:
        raise UserError(f"--amp expects optim_wrapper.type='OptimWrapper', got '{kind}'.")


def use_auto_scale_lr(cfg: Config) -> None:
    """Scales the learning rate by the real batch size (``--auto-scale-lr``).

    Raises:
        UserError: If it does not say for which batch size its learning rate was chosen.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            '--auto-scale-lr needs the batch size that the learning rate was chosen for, which '
            f'this config lacks, as most {toolbox_of(scope_of(cfg)).task} configs do; add '
            '--cfg-options auto_scale_lr.base_batch_size=N.'
        )
    cfg.auto_scale_lr.enable = True


def keep_predictions(cfg: Config, out: str) -> None:
    """Keeps the predictions (``--out``): a folder in segmentation, otherwise a pickle.

    Args:
        cfg: The config; changed in place.
        out: Path of the file or folder.

    Raises:
        UserError: If the path does not suit the task.
    """
    scope = scope_of(cfg)
    is_pickle = out.endswith(('.pkl', '.pickle'))
    evaluators = _as_list(cfg.test_evaluator)
    if scope == 'mmseg':
        if is_pickle:
            raise UserError(f'--out expects a folder for segmentation maps, got the pickle {out}.')
        for evaluator in evaluators:
            if evaluator.get('type', '').endswith('IoUMetric'):
                evaluator.update(output_dir=out, keep_results=True)
        return
    if not is_pickle:
        raise UserError(f'--out expects a pickle, such as {out.rstrip("/")}.pkl, got {out}.')
    dump = ConfigDict(
        type='DumpDetResults' if scope == 'mmdet' else 'DumpResults', out_file_path=out
    )
    cfg.test_evaluator = [*evaluators, dump]


def draw_predictions(
    cfg: Config, show: bool = False, show_dir: str | None = None, wait_time: float = 2
) -> None:
    """Draws the predictions (``--show``, ``--show-dir``).

    Args:
        cfg: The config; changed in place.
        show: Whether to open a window.
        show_dir: Folder for the images. Detection puts it below ``work_dir/<time>`` unless it
            is absolute; segmentation puts ``vis_data/vis_image`` below it; classification names
            each image after its file and the folders in which the test's images differ.
        wait_time: Seconds that the window shows an image.

    Raises:
        UserError: If there is no visualization hook or no screen.
    """
    scope = scope_of(cfg)
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UserError(
            '--show and --show-dir need default_hooks.visualization, which the config lacks; add '
            'default_hooks.visualization.type=DetVisualizationHook, SegVisualizationHook or, for '
            'classification, VisualizationHook by --cfg-options.'
        )
    if show and not _has_screen():
        raise UserError('--show needs a screen, and there is none here; use --show-dir FOLDER.')
    if scope == 'mmpretrain':
        hook.enable = True
        hook.out_dir = show_dir
        hook.interval = 1  # the default draws one image in 5,000
        if hook.type in ('VisualizationHook', 'mmpretrain.VisualizationHook'):
            hook.type = 'mmela.ClsVisualizationHook'
    else:
        hook.draw = True
    if show:
        hook.show = True
        hook.wait_time = wait_time
    if show_dir and scope == 'mmseg':
        cfg.visualizer.save_dir = show_dir
    elif show_dir and scope == 'mmdet':
        hook.test_out_dir = show_dir


def use_tta(cfg: Config) -> None:
    """Turns test-time augmentation on (``--tta``).

    Detection and classification have a default: each image as it is and mirrored.

    Raises:
        UserError: If the config lacks ``tta_model`` or ``tta_pipeline`` and has no default, or
            has no test set whose pipeline could be replaced; if classification is to draw as well.
    """
    scope = scope_of(cfg)
    datasets = _test_datasets(cfg)
    missing = [key for key in ('tta_model', 'tta_pipeline') if cfg.get(key) is None]
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    if scope == 'mmpretrain' and hook.get('enable'):
        raise UserError(
            '--tta cannot be combined with --show or --show-dir in classification, where '
            'MMPreTrain draws one view of each image; draw in a test without --tta.'
        )
    if missing and scope not in _TTA_MODELS:
        raise UserError(
            f'--tta: the config has no {" and no ".join(missing)}, and only detection and '
            'classification have a default for it.'
        )
    if 'tta_model' in missing:
        cfg.tta_model = deepcopy(_TTA_MODELS[scope])
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in datasets:
        if 'tta_pipeline' in missing:
            dataset['pipeline'] = _flip_pipeline(dataset['pipeline'], scope)
        else:
            dataset['pipeline'] = deepcopy(cfg.tta_pipeline)
    if 'tta_pipeline' in missing:
        cfg.tta_pipeline = deepcopy(datasets[0]['pipeline'])


def _test_datasets(cfg: Config) -> list[dict]:
    """The data sets of a test, each with a pipeline."""
    found = list(iter_datasets(cfg, ['test']))
    without = [key for dataset, key in found if not dataset.get('pipeline')]
    if without or not found:
        keys = ', '.join(without) or 'test_dataloader.dataset'
        raise UserError(f'--tta replaces the pipeline of the test set, and {keys} has none.')
    return [dataset for dataset, _ in found]


def _flip_pipeline(pipeline: list[dict], scope: str) -> list[dict]:
    """A test pipeline whose last step packs each image twice, as it is and mirrored."""
    *steps, pack = deepcopy(pipeline)
    if scope == 'mmdet':  # boxes have to be mirrored back
        meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
        pack = {**pack, 'meta_keys': (*pack.get('meta_keys', meta_keys), 'flip', 'flip_direction')}
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _has_screen() -> bool:
    on_x11 = sys.platform.startswith('linux')
    return not on_x11 or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))
