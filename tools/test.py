"""Test a checkpoint of a detector, a segmenter or a classifier."""

import argparse
import sys

from tool_imports import mmela_imports


def parse_args() -> argparse.Namespace:
    """Parses the command line, which has the flags of the toolboxes' own scripts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or a name such as mmdet::yolox/...')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings: test_dataloader.batch_size=4 "key=[a,b]" list.0.key=value',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run the code that a checkpoint may hold; only for files whose author you trust',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int)
    parser.add_argument('--no-data-check', action='store_true', help='skip the check of the data')
    return parser.parse_args()


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    args = parse_args()
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


if __name__ == '__main__':
    sys.exit(main())
