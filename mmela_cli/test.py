"""Test a checkpoint of a detector, a segmenter or a classifier."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmela_cli import mmela_imports
from mmela_cli.arguments import add_checkpoint, add_config, add_run


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments, which are those of the toolboxes' own scripts."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    add_config(parser, 'test_dataloader.batch_size=4 "key=[a,b]" list.0.key=value')
    add_checkpoint(parser)
    parser.add_argument('--work-dir', help='folder for metrics.json and the log')
    parser.add_argument(
        '--out',
        help='save the predictions: a .pkl file in detection and classification, a folder of label '
        'maps in segmentation',
    )
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help='folder for images with the predictions')
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds per image with --show (default: 2)'
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    add_run(parser)
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    args = build_parser(prog).parse_args(argv)
    with mmela_imports():
        from mmela import engine
    engine.set_local_rank(args.launcher, args.local_rank)
    with engine.exit_on_user_error(args.launcher):
        cfg = engine.load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        if args.trust_checkpoint:
            cfg.trust_checkpoint = True
        if args.show or args.show_dir:
            engine.draw_predictions(cfg, args.show, args.show_dir, args.wait_time)
        if args.out is not None:
            engine.keep_predictions(cfg, args.out)
        if args.tta:
            engine.use_tta(cfg)
        engine.test(cfg, args.checkpoint, data_check=not args.no_data_check)
    return 0
