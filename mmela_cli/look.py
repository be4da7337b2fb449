"""Draw where the attention of a network looks, or what its predictions rest on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from mmela_cli import mmela_imports
from mmela_cli.arguments import add_checkpoint, add_config


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    add_config(parser, 'data_root=DIR')
    add_checkpoint(parser)
    parser.add_argument('inputs', nargs='*', help='images, folders, or patterns in quotation marks')
    parser.add_argument('--out', metavar='DIR', default='work_dirs/look', help='%(default)s')
    parser.add_argument(
        '--layers', nargs='+', default=[], help='names of layers, or patterns; default: all'
    )
    parser.add_argument(
        '--stretch', action='store_true', help='stretch the colours of each map to its values'
    )
    parser.add_argument('--cam', metavar='METHOD', help='gradcam, layercam, eigencam, ...')
    parser.add_argument('--label', type=int, help='class that --cam explains, a number')
    parser.add_argument(
        '--compare',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another network, whose map is drawn beside',
    )
    parser.add_argument('--save-npz', action='store_true', help='also write the arrays')
    parser.add_argument(
        '--dataset',
        action='store_true',
        help='print how much of the maps lies inside the objects of the test set (with --cam)',
    )
    parser.add_argument('--limit', type=int, help='with --dataset: as many images at most')
    parser.add_argument('--device', help='cpu, cuda or cuda:1; default: a GPU if there is one')
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    parser = build_parser(prog)
    args = parser.parse_args(argv)
    if args.dataset and not args.cam:
        parser.error('--dataset needs --cam METHOD')
    if args.compare and not args.cam:
        parser.error('--compare needs --cam METHOD')
    if args.label is not None and not args.cam:
        parser.error('--label needs --cam METHOD')
    if not args.inputs and not args.dataset:
        parser.error('expected images, or --dataset')
    with mmela_imports():
        from mmela import engine
        from mmela.commands.look import Looker, look, pointing_score
    with engine.exit_on_user_error():
        cfg = engine.load_config(args.config, args.cfg_options)
        cfg.trust_checkpoint = args.trust_checkpoint
        networks = [(args.config, args.checkpoint, Looker(cfg, args.checkpoint, args.device))]
        if args.compare:
            config, checkpoint = args.compare
            other = engine.load_config(config, args.cfg_options)
            other.trust_checkpoint = args.trust_checkpoint
            networks.append((config, checkpoint, Looker(other, checkpoint, args.device)))
        if args.dataset:
            for config, checkpoint, network in networks:
                score = pointing_score(
                    network, args.cam, args.limit, layers=args.layers, label=args.label
                )
                names = {'config': config, 'checkpoint': checkpoint, 'cam': args.cam}
                print(json.dumps({**names, **score}))
        if args.inputs:
            for path in look(
                networks[0][2],
                args.inputs,
                args.out,
                layers=args.layers,
                stretch=args.stretch,
                cam=args.cam,
                label=args.label,
                compare=networks[1][2] if args.compare else None,
                save_npz=args.save_npz,
            ):
                print(path)
    return 0
