"""Time training steps and inferences of networks with their attention and without, in turn."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `benchmarks/` lies in the checkout

from benchmarks import describe, measure_network, report, use_device  # noqa: E402
from benchmarks.machine import DTYPES  # noqa: E402
from benchmarks.targets import network_targets  # noqa: E402
from mmela import engine  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'configs', nargs='+', metavar='CONFIG', help='config files, or names such as mmela::...'
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:1; default: a GPU where there is one')
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='float32',
        help='bfloat16 or float16: mixed precision, on a GPU; default: float32',
    )
    parser.add_argument('--pairs', type=int, default=200, help='how often both are run')
    parser.add_argument(
        '--memory-only', action='store_true', help='measure peak memory; nothing is timed'
    )
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='SIDE',
        help='height and width of the input, or one side of a square; default: what each config '
        'tests at',
    )
    parser.add_argument('--batch', type=int, help="images; default: those of the config's training")
    parser.add_argument(
        '--recompute',
        action='store_true',
        help='train with outputs of ELA computed again in backward (mmela.RecomputeHook)',
    )
    parser.add_argument('--threads', type=int, help='threads of PyTorch on the CPU')
    parser.add_argument('--quick', action='store_true', help='to see that it works: five pairs')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings of every config',
    )
    parser.add_argument(
        '--out', metavar='PATH', help='CSV file, or a folder for one; the table goes beside it'
    )
    args = parser.parse_args()
    for name in ('pairs', 'batch', 'threads'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'argument --{name}: must be 1 or more')
    if args.shape is not None:
        if len(args.shape) > 2 or min(args.shape) < 1:
            parser.error('argument --shape: give a height and a width, or one side of a square')
        args.shape = (args.shape[0], args.shape[-1])
    return args


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 for a mistake in what was asked for.
    """
    args = parse_args()
    pairs = 0 if args.memory_only else 5 if args.quick else args.pairs
    with engine.exit_on_user_error():
        device = use_device(args.device, args.threads)
        machine = describe(device)
        results = []
        # What MMEngine and the toolboxes say on the way must not get into the table.
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
        targets = report.target_table(network_targets(results, device), 'config')
        text = f'{report.heading(machine)}\n\n{report.network_table(rows)}\n\n{targets}'
        print(text)
        if args.out:
            stem = f'{"memory" if args.memory_only else "model"}_{machine.slug}_{args.dtype}'
            if len(results) == 1:
                stem += f'_{Path(results[0].config).stem}'
            if args.recompute:
                stem += '_recompute'
            if args.quick:
                stem += '_quick'  # no measurement to be replaced by it
            print(f'written: {report.write(args.out, stem, rows, text)}', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
