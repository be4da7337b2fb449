"""Measure time and memory of attention layers, relative to copying the same map."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tools/

from tool_imports import mmela_imports  # noqa: E402

with mmela_imports(checkout=True):
    from benchmarks import Settings, describe, measure_case, report, use_device
    from benchmarks.machine import DTYPES, use_dtype
    from benchmarks.methods import METHODS
    from benchmarks.shapes import GROUPS, find_cases
    from mmela import engine


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', help='cpu, cuda or cuda:1; default: a GPU if there is one')
    parser.add_argument('--dtype', choices=DTYPES, help='default: bfloat16 on a GPU, else float32')
    parser.add_argument(
        '--shapes',
        nargs='+',
        metavar='SHAPE',
        help=f'{", ".join(GROUPS)}, or NxCxHxW; default: real, with large on a GPU, cpu without',
    )
    parser.add_argument(
        '--methods', nargs='+', choices=METHODS, metavar='METHOD', default=list(METHODS),
        help=f'default: all of {", ".join(METHODS)}',
    )  # fmt: skip
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--threads', type=int, help='CPU threads of PyTorch')
    parser.add_argument('--rounds', type=int, default=15, help='samples per median')
    parser.add_argument('--repeats', type=int, default=3, help='medians; the smallest is reported')
    parser.add_argument(
        '--quick',
        action='store_true',
        help='smoke test: the first map of each group, three samples, one median',
    )
    parser.add_argument(
        '--out',
        metavar='PATH',
        help='CSV file or folder for it; a .md of the same name gets the table',
    )
    args = parser.parse_args()
    for name in ('threads', 'rounds', 'repeats'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'argument --{name}: must be 1 or more')
    return args


def main() -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error.
    """
    args = parse_args()
    with engine.exit_on_user_error():
        device = use_device(args.device, args.threads)
        dtype = use_dtype(args.dtype, device)
        shapes = args.shapes or (['real', 'large'] if device.type == 'cuda' else ['cpu', 'real'])
        cases = find_cases(shapes, dtype.itemsize, args.quick)
        rounds, repeats = (3, 1) if args.quick else (args.rounds, args.repeats)
        settings = Settings(device, dtype, args.channels_last, tuple(args.methods), rounds, repeats)
        machine = describe(device)
        results = []
        for case in cases:
            print(f'{case.network}, {case.name} ...', file=sys.stderr, flush=True)
            results += measure_case(case, settings)
            rows = report.layer_rows(results, settings, machine)
            text = f'{report.heading(machine)}\n\n{report.layer_table(rows)}'
            if args.out:  # after every map, so that an interrupted run keeps its results
                layout = '_channels-last' if args.channels_last else ''
                chosen = f'_{"-".join(args.shapes)}' if args.shapes else ''
                quick = '_quick' if args.quick else ''  # must not replace a real measurement
                stem = f'ops_{machine.slug}_{rows[0]["dtype"]}{layout}{chosen}{quick}'
                path = report.write(args.out, stem, rows, text)
        print(text)
        if args.out:
            print(f'written: {path}', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
