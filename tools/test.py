"""Test a checkpoint of a detector, a segmenter or a classifier."""

import argparse
import os
import sys


def parse_args() -> argparse.Namespace:
    """Reads the command line; the flags are those of the toolboxes' own scripts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or a name such as mmdet::yolox/...')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument('--work-dir', help='folder for metrics.json and the log')
    parser.add_argument(
        '--out',
        help='keep the predictions: a .pkl in detection and classification, a folder of label '
        'maps in segmentation',
    )
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds between pictures (default: 2)'
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
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.add_argument(
        '--no-data-check', action='store_true', help='do not look for the data first'
    )
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 for a mistake in what was asked for.
    """
    args = parse_args()
    try:
        from mmela import engine
    except ImportError as error:
        hint = f'; install it: pip install -e {os.path.dirname(os.path.dirname(__file__)) or "."}'
        print(f'error: {error}{hint if error.name == "mmela" else ""}', file=sys.stderr)
        return 2
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
