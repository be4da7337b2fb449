"""Write a checkpoint as ONNX, with its preprocessing beside it, and check it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmela_cli import mmela_imports
from mmela_cli.arguments import add_checkpoint, add_config, add_shape, shape_of


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    add_config(parser, 'model.test_cfg.score_thr=0.1')
    add_checkpoint(parser)
    parser.add_argument('--out', required=True, metavar='MODEL.onnx')
    parser.add_argument('--dynamic', action='store_true', help='leave batch and size open')
    parser.add_argument('--opset', type=int, default=17, help='default: %(default)s')
    add_shape(parser)
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
        from mmela.commands.export import export
    with engine.exit_on_user_error():
        cfg = engine.load_config(args.config, args.cfg_options)
        cfg.trust_checkpoint = args.trust_checkpoint
        exported = export(
            cfg,
            args.checkpoint,
            args.out,
            dynamic=args.dynamic,
            opset=args.opset,
            shape=shape,
        )
        print(f'{exported.file}: outputs {", ".join(exported.outputs)}')
        print(f'{exported.settings}: preprocessing, classes')
        for size, difference in exported.differences.items():
            sides = 'x'.join(map(str, size))
            print(f'ONNX Runtime and PyTorch differ by {difference:.1e} at {sides}')
    return 0
