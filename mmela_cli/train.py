"""Train a detector, a segmenter or a classifier."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmela_cli import mmela_imports
from mmela_cli.arguments import add_config, add_run, add_trust


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments, which are those of the toolboxes' own scripts."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    add_config(parser, 'train_cfg.max_epochs=1 "key=[a,b]" list.0.key=value')
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
    add_trust(parser)
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
        if args.amp:
            engine.use_amp(cfg)
        if args.auto_scale_lr:
            engine.use_auto_scale_lr(cfg)
        if args.resume is not None:
            engine.use_resume(cfg, args.resume)
        engine.train(cfg, data_check=not args.no_data_check)
    return 0
