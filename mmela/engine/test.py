"""Testing as tools/test.py does it."""

from __future__ import annotations

import os
import sys
from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict

from mmela.engine.checkpoints import checkpoints_as_data
from mmela.engine.checks.data import check_data
from mmela.engine.checks.environment import check_environment
from mmela.engine.checks.weights import check_weights
from mmela.engine.config import scope_of
from mmela.engine.dataset_configs import leaf_datasets
from mmela.engine.explain import explain_broken_images, explain_config_errors
from mmela.engine.saving import check_work_dir, explain_failed_writes
from mmela.errors import UserError

#: The toolboxes' own defaults for test-time augmentation; MMSegmentation has none.
_TTA_MODELS = {
    'mmdet': dict(
        type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
    ),
    'mmpretrain': dict(type='AverageClsScoreTTA'),
}


def test(cfg: Config, checkpoint: str, *, data_check: bool = True) -> dict[str, Any]:
    """Tests a checkpoint on the test set of a config.

    Prints the metrics as a table and writes them to ``metrics.json`` in the work dir.

    Args:
        cfg: A config of :func:`load_config`.
        checkpoint: A file or an address.
        data_check: Whether to look for the data first.

    Returns:
        The metrics by name.

    Raises:
        UserError: If something that the person can mend stands in the way.
    """
    cfg.load_from = checkpoint
    cfg.resume = False
    for key in ('test_dataloader', 'test_evaluator'):
        if cfg.get(key) is None:
            raise UserError(f"the config has no '{key}': there is nothing to test on.")
    check_work_dir(cfg.work_dir)
    with checkpoints_as_data(cfg.get('trust_checkpoint', False)):
        check_weights(cfg, training=False)
    if data_check:
        check_data(cfg, ('test',))
    check_environment(scope_of(cfg))
    from mmela.engine.checks.plugins import check_plugins

    check_plugins(cfg)
    from mmengine.dist import is_main_process

    from mmela.engine.metrics import print_metrics, write_metrics
    from mmela.engine.runner import build_runner, connected_processes

    with (
        connected_processes(),
        explain_config_errors(),
        explain_broken_images(),
        explain_failed_writes(cfg.work_dir),
        checkpoints_as_data(cfg.get('trust_checkpoint', False)),
    ):
        metrics = build_runner(cfg).test()
        is_main = is_main_process()
    if is_main:
        if metrics:
            print_metrics(metrics, os.path.basename(checkpoint))
        else:
            print('no metrics: the evaluator had nothing to evaluate, such as no box at all.')
        with explain_failed_writes(cfg.work_dir):
            print(f'written to {write_metrics(metrics, cfg.work_dir)}')
    return metrics


def keep_predictions(cfg: Config, out: str) -> None:
    """Keeps the predictions (``--out``): a pickle in detection, a folder in segmentation.

    Args:
        cfg: The config; changed in place.
        out: Where to.

    Raises:
        UserError: If the name does not suit the task.
    """
    scope = scope_of(cfg)
    is_pickle = out.endswith(('.pkl', '.pickle'))
    if scope == 'mmseg':
        if is_pickle:
            raise UserError(f'--out names a folder for segmentation maps, and {out} is a pickle.')
        for evaluator in _as_list(cfg.test_evaluator):
            if evaluator.get('type', '').endswith('IoUMetric'):
                evaluator.update(output_dir=out, keep_results=True)
        return
    if not is_pickle:
        raise UserError(f'--out takes the name of a pickle, such as {out.rstrip("/")}.pkl.')
    dump = ConfigDict(
        type='DumpDetResults' if scope == 'mmdet' else 'DumpResults', out_file_path=out
    )
    cfg.test_evaluator = [*_as_list(cfg.test_evaluator), dump]


def draw_predictions(
    cfg: Config, show: bool = False, show_dir: str | None = None, wait_time: float = 2
) -> None:
    """Draws the predictions (``--show``, ``--show-dir``).

    Args:
        cfg: The config; changed in place.
        show: Whether to open a window.
        show_dir: Folder for the pictures. Detection puts it below ``work_dir/<time>`` unless it
            is absolute; segmentation puts ``vis_data/vis_image`` below it; classification names
            each picture after its file and the folders that tell the images apart.
        wait_time: Seconds that the window shows a picture.

    Raises:
        UserError: If there is no visualization hook or no screen.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UserError(
            "--show and --show-dir need the visualization hook, and the config's default_hooks "
            'hold none; add default_hooks.visualization.type=DetVisualizationHook, '
            'SegVisualizationHook or, for classification, VisualizationHook by --cfg-options.'
        )
    if show and not _has_screen():
        raise UserError('--show needs a screen and there is none here; use --show-dir FOLDER.')
    if scope_of(cfg) == 'mmpretrain':
        hook.enable = True
        hook.out_dir = show_dir
        hook.interval = 1  # its own is one picture in 5,000
        if hook.type in ('VisualizationHook', 'mmpretrain.VisualizationHook'):
            hook.type = 'mmela.ClsVisualizationHook'
    else:
        hook.draw = True
    if show:
        hook.show = True
        hook.wait_time = wait_time
    if show_dir and scope_of(cfg) == 'mmseg':
        cfg.visualizer.save_dir = show_dir
    elif show_dir and scope_of(cfg) == 'mmdet':
        hook.test_out_dir = show_dir


def use_tta(cfg: Config) -> None:
    """Turns test-time augmentation on (``--tta``).

    Detection and classification have a default for it: each image plain and mirrored.

    Args:
        cfg: The config; changed in place.

    Raises:
        UserError: If the config lacks ``tta_model`` or ``tta_pipeline`` and has no default, or
            no test set whose pipeline could be replaced; if classification is to draw as well.
    """
    datasets = _test_datasets(cfg)
    lacking = [key for key in ('tta_model', 'tta_pipeline') if cfg.get(key) is None]
    scope = scope_of(cfg)
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    if scope == 'mmpretrain' and hook.get('enable'):
        raise UserError(
            '--tta cannot go with --show or --show-dir in classification: MMPreTrain draws single '
            'images, and there are two of each; draw in a test of its own.'
        )
    if lacking and scope not in _TTA_MODELS:
        raise UserError(
            f'--tta: the config has no {" and no ".join(lacking)}, and only detection and '
            'classification have a default for it.'
        )
    if 'tta_model' in lacking:
        cfg.tta_model = deepcopy(_TTA_MODELS[scope])
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in datasets:
        if 'tta_pipeline' in lacking:
            dataset['pipeline'] = _flip_pipeline(dataset['pipeline'], scope)
        else:
            dataset['pipeline'] = deepcopy(cfg.tta_pipeline)
    if 'tta_pipeline' in lacking:
        cfg.tta_pipeline = deepcopy(datasets[0]['pipeline'])


def _test_datasets(cfg: Config) -> list[dict]:
    """The data sets of a test, each with a pipeline."""
    key = 'test_dataloader.dataset'
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if dataset is None:
        raise UserError("--tta: the config has no 'test_dataloader' with a dataset to test on.")
    found = list(leaf_datasets(dataset, key)) if isinstance(dataset, dict) else []
    without = [where for leaf, where in found if not leaf.get('pipeline')]
    if without or not found:
        raise UserError(
            f'--tta replaces the pipeline of the test set, and {", ".join(without) or key} has '
            'none.'
        )
    return [leaf for leaf, _ in found]


def _flip_pipeline(pipeline: list[dict], scope: str) -> list[dict]:
    """A test pipeline whose last step packs each picture twice, plain and mirrored."""
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
