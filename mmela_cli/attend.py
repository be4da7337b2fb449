"""Write a small config that adds attention to the network of another config."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from mmela_cli import mmela_imports
from mmela_cli.arguments import add_config, add_shape, shape_of


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    add_config(parser, 'model.backbone.depth=18')
    parser.add_argument('--type', default='ELA', help='ELA, SE, ECA, CBAM, CoordAtt, or your own')
    parser.add_argument('--variant', help="of ELA: T, B, S or L; default: the authors' choice")
    parser.add_argument(
        '--residual',
        choices=['False', 'True', 'scaled'],
        help='default: True for pretrained networks, else False',
    )
    parser.add_argument(
        '--where',
        default='backbone',
        help='backbone or neck, and perhaps a position: neck.fpn_convs.* (default: %(default)s)',
    )
    add_shape(parser)
    parser.add_argument('--out', metavar='NEW.py', help='file to write; default: print it')
    parser.add_argument(
        '--list', action='store_true', help='list the positions of --where with their shapes'
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    parser = build_parser(prog)
    args = parser.parse_args(argv)
    shape = shape_of(parser, args)
    with mmela_imports():
        from mmela import engine
        from mmela.commands.attend import attend, base_of, list_places
    residual = {None: None, 'False': False, 'True': True, 'scaled': 'scaled'}[args.residual]
    with engine.exit_on_user_error():
        if args.out and os.path.exists(args.out):
            raise engine.UserError(f'--out: {args.out} exists; name a new file.')
        with redirect_stdout(sys.stderr):  # messages of the toolboxes
            cfg = engine.load_config(args.config, args.cfg_options)
            if args.list:
                places = list_places(cfg, args.where.partition('.')[0])
            else:
                proposal = attend(
                    cfg,
                    base_of(args.config, args.out),
                    layer=args.type,
                    variant=args.variant,
                    residual=residual,
                    where=args.where,
                    shape=shape,
                )
        if args.list:
            for name, shapes in places:
                print(f'{name:<40} {shapes}')
            return 0
        for reason in proposal.reasons:
            print(f'# {reason}')
        cost = proposal.complexity
        if cost is not None:
            print(
                f'# {cost.attention_layers} layers, {cost.attention_params:,} parameters '
                f'(+{cost.attention_params / cost.baseline_params:.2%}), '
                f'{cost.attention_flops / 1e6:.1f} M FLOPs '
                f'(+{cost.attention_flops / cost.baseline_flops:.2%})'
            )
        if args.out:
            Path(args.out).parent.mkdir(parents=True, exist_ok=True)
            Path(args.out).write_text(proposal.text, encoding='utf-8')
            print(f'# written to {args.out}')
        else:
            print(proposal.text, end='')
    return 0
