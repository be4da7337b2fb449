"""Train a detector, a segmenter or a classifier."""

import argparse
import sys

from tool_imports import mmela_imports


def parse_args() -> argparse.Namespace:
    """Parses the command line, which has the flags of the toolboxes' own scripts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or a name such as mmdet::yolox/...')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the actual batch size; the config needs auto_scale_lr',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint; without a value, from the latest in the work dir',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings: train_cfg.max_epochs=1 "key=[a,b]" list.0.key=value',
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
        if args.amp:
            engine.use_amp(cfg)
        if args.auto_scale_lr:
            engine.use_auto_scale_lr(cfg)
        if args.resume is not None:
            engine.use_resume(cfg, args.resume)
        engine.train(cfg, data_check=not args.no_data_check)
    return 0


if __name__ == '__main__':
    sys.exit(main())
