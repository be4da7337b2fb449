"""Arguments that several commands share."""

from __future__ import annotations

import argparse


def add_config(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds ``CONFIG`` and ``--cfg-options``."""
    parser.add_argument('config', help='config file, or a name such as mmdet::yolox/...')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help=f'override settings: {example}',
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds ``CHECKPOINT`` and ``--trust-checkpoint``."""
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    add_trust(parser)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds what train and test have in common."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int)
    parser.add_argument('--no-data-check', action='store_true', help='skip the check of the data')


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run the code that a checkpoint may hold; only for files whose author you trust',
    )


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Adds ``--shape``."""
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='SIDE',
        help='height and width of the input, or one side of a square; default: the test size of '
        'the config',
    )


def shape_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[int, int] | None:
    """Height and width of ``--shape``; None where it is not given."""
    if args.shape is None:
        return None
    if len(args.shape) > 2 or min(args.shape) < 1:
        parser.error('argument --shape: expected HEIGHT WIDTH or one side of a square')
    return args.shape[0], args.shape[-1]
