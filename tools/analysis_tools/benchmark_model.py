"""Time training steps and inferences of networks with and without their attention."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports(checkout=True):
    from benchmarks import describe, measure_network, report, use_device
    from benchmarks.machine import DTYPES
    from mmela import engine


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'configs', nargs='+', metavar='CONFIG', help='config files, or names such as mmela::...'
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:1; default: a GPU if there is one')
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='float32',
        help='bfloat16 or float16: mixed precision on a GPU; default: float32',
    )
    parser.add_argument('--pairs', type=int, default=200, help='number of pairs of runs')
    parser.add_argument('--memory-only', action='store_true', help='measure peak memory only')
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='SIDE',
        help='height and width of the input, or one side of a square; default: the test size of '
        'each config',
    )
    parser.add_argument(
        '--batch', type=int, help="images; default: the config's training batch size"
    )
    parser.add_argument(
        '--recompute',
        action='store_true',
        help='recompute outputs of ELA in backward (mmela.RecomputeHook)',
    )
    parser.add_argument('--threads', type=int, help='CPU threads of PyTorch')
    parser.add_argument('--quick', action='store_true', help='smoke test: five pairs')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings of every config',
    )
    parser.add_argument('--label', help='appended to the name of the file, such as fused')
    parser.add_argument(
        '--out',
        metavar='PATH',
        help='CSV file or folder for it; a .md of the same name gets the table',
    )
    args = parser.parse_args()
    for name in ('pairs', 'batch', 'threads'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'argument --{name}: must be 1 or more')
    if args.shape is not None:
        if len(args.shape) > 2 or min(args.shape) < 1:
            parser.error('argument --shape: expected HEIGHT WIDTH or one side of a square')
        args.shape = (args.shape[0], args.shape[-1])
    return args


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    args = parse_args()
    pairs = 0 if args.memory_only else 5 if args.quick else args.pairs
    with engine.exit_on_user_error():
        device = use_device(args.device, args.threads)
        machine = describe(device)
        results = []
        if device.type == 'cuda':
            import benchmarks.torchvision_nms  # noqa: F401
        # Output of MMEngine and the toolboxes must not get into the table.
        with redirect_stdout(sys.stderr):
            for path in args.configs:
                cfg = engine.load_config(path, args.cfg_options)
                results.append(
                    measure_network(
                        cfg,
                        device,
                        DTYPES[args.dtype],
                        pairs=pairs,
                        shape=args.shape,
                        batch=args.batch,
                        name=path,
                        recompute=args.recompute,
                    )
                )
        rows = report.network_rows(results, machine)
        text = f'{report.heading(machine)}\n\n{report.network_table(rows)}'
        print(text)
        if args.out:
            stem = f'{"memory" if args.memory_only else "model"}_{machine.slug}_{args.dtype}'
            if len(results) == 1:
                stem += f'_{Path(results[0].config).stem}'
            if args.recompute:
                stem += '_recompute'
            if args.label:
                stem += f'_{args.label}'
            if args.quick:
                stem += '_quick'  # must not replace a real measurement
            print(f'written: {report.write(args.out, stem, rows, text)}', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
