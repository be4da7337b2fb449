"""Train a detector, a segmenter or a classifier."""

import argparse
import os
import sys


def parse_args() -> argparse.Namespace:
    """Reads the command line; the flags are those of the toolboxes' own scripts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or a name such as mmdet::yolox/...')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the real batch size; the config needs auto_scale_lr',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a value, from the latest in the work dir',
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
