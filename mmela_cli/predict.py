"""Run a checkpoint on images: boxes, masks or classes, drawn and as numbers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmela_cli import mmela_imports
from mmela_cli.arguments import add_checkpoint, add_config


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    add_config(parser, 'model.test_cfg.nms.iou_threshold=0.5')
    add_checkpoint(parser)
    parser.add_argument('inputs', nargs='+', help='images, folders, or patterns in quotation marks')
    parser.add_argument('--out', metavar='DIR', help='folder for the drawn images')
    parser.add_argument('--json', metavar='FILE', help='file for the numbers')
    parser.add_argument('--device', help='cpu, cuda or cuda:1; default: a GPU if there is one')
    parser.add_argument('--batch-size', type=int, default=1, help='default: %(default)s')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='lowest score of a box (default: %(default)s)'
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    parser = build_parser(prog)
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f'argument --batch-size: expected 1 or more, got {args.batch_size}')
    with mmela_imports():
        from mmela import engine
        from mmela.commands.inputs import find_images
        from mmela.commands.predict import predict, summary, to_json
    with engine.exit_on_user_error():
        from rich.progress import track

        cfg = engine.load_config(args.config, args.cfg_options)
        cfg.trust_checkpoint = args.trust_checkpoint
        images = find_images(args.inputs)
        if args.json:  # before the work, not after it
            Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        results = []
        found = predict(
            cfg,
            args.checkpoint,
            images,
            out=args.out,
            device=args.device,
            batch_size=args.batch_size,
            score_thr=args.score_thr,
        )
        for result in track(found, 'predict', total=len(images), disable=len(images) == 1):
            results.append(result)
            if len(images) <= 20:
                print(summary(result))
        if args.json:
            Path(args.json).write_text(to_json(results), encoding='utf-8')
        places = [f'drawn in {args.out}'] * bool(args.out) + [f'numbers in {args.json}'] * bool(
            args.json
        )
        print(f'{len(images)} images{": " if places else ""}{", ".join(places)}')
    return 0
