"""Compare networks on your data over several seeds, in pairs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial

from mmela_cli import mmela_imports


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog, description=__doc__)
    parser.add_argument('spec', metavar='SPEC', help='what is compared, see docs/compare.md')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for runs and report')
    parser.add_argument('--seeds', type=int, default=5, help='seeds 0 to N-1 (default: 5)')
    parser.add_argument('--first-seed', type=int, default=0, help='start at this seed instead')
    parser.add_argument(
        '--jobs', type=int, help='runs at once (default: 1, or one on each of --gpus)'
    )
    parser.add_argument('--gpus', metavar='0,1', help='GPUs that the runs take in turn')
    only = parser.add_mutually_exclusive_group()
    only.add_argument('--dry-run', action='store_true', help='list the runs and do nothing')
    only.add_argument('--report-only', action='store_true', help='write the report anew')
    only.add_argument(
        '--speed', action='store_true', help='time training steps and inferences, in pairs'
    )
    parser.add_argument('--entry', nargs='+', metavar='NAME', help='only these entries')
    parser.add_argument('--seed', type=int, help='with one --entry: that run, in this process')
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status; 2 after a user error or if runs failed.
    """
    parser = build_parser(prog)
    args = parser.parse_args(argv)
    if args.seed is not None and len(args.entry or ()) != 1:
        parser.error('--seed: expected one --entry with it')
    if args.seed is not None and (args.report_only or args.speed):
        parser.error('--seed: is for one run, without --report-only and --speed')
    gpus = args.gpus.split(',') if args.gpus else []
    if not all(gpu.strip() for gpu in gpus):
        parser.error(f'--gpus: expected ids such as 0,1, got {args.gpus!r}')
    if gpus and (args.seed is not None or args.speed):
        if len(gpus) > 1:
            parser.error(f'--gpus: expected one id with --seed and --speed, got {args.gpus!r}')
        os.environ['CUDA_VISIBLE_DEVICES'] = gpus[0]  # before torch looks for GPUs
    jobs = len(gpus) or 1 if args.jobs is None else args.jobs
    if min(args.seeds, jobs) < 1:
        parser.error('--seeds and --jobs: expected at least 1')
    with mmela_imports():
        from mmela import engine
        from mmela.analysis.compare.cell import command_of, run_cell
        from mmela.analysis.compare.costs import costs_of, record
        from mmela.analysis.compare.report import write_report
        from mmela.analysis.compare.schedule import minutes_of, results_of, run_all
        from mmela.analysis.compare.spec import read_spec
    failed = 0
    with engine.exit_on_user_error():
        spec = read_spec(args.spec)
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        if args.seed is not None:
            seeds = range(args.seed, args.seed + 1)
        for entry in args.entry or ():
            if entry not in spec.entries:
                raise engine.UserError(
                    f'--entry: expected names of {", ".join(spec.entries)}, got {entry!r}.'
                )
        todo = [(entry, seed) for seed in seeds for entry in args.entry or spec.entries]
        done = results_of(spec, args.out)
        if args.dry_run:
            for entry, seed in todo:
                state = 'done   ' if seed in done.get(entry, {}) else 'to run '
                print(f'{state} {command_of(args.spec, entry, seed, args.out)}')
            times = [r['seconds'] for runs in done.values() for r in runs.values()]
            left = sum(seed not in done.get(entry, {}) for entry, seed in todo)
            if times and left:
                minutes = minutes_of(times, left, jobs)
                print(f'{left} runs to go, about {minutes:.0f} min by those that are done')
            return 0
        if args.seed is not None:
            ((entry, seed),) = todo
            result = run_cell(spec, entry, seed, args.out)
            print(f'{entry}, seed {seed}: {spec.metric} {result["metric"]:.6g}')
            return 0
        costs = costs_of(spec)
        train_cfg = spec.config(spec.reference, 0, args.out).get('train_cfg') or {}
        unit = 'iteration' if 'max_iters' in train_cfg else 'epoch'
        # the runs read the copy: the file may be edited meanwhile
        kept = args.spec if args.report_only else record(args.spec, args.out)

        def report() -> list[str]:
            return write_report(spec, results_of(spec, args.out), kept, args.out, costs, unit)

        def report_between() -> None:
            try:
                report()
            except Exception as error:  # no reason to end the runs
                print(f'the report could not be written: {error}', flush=True)

        if args.speed:
            from mmela.analysis.compare.speed import measure_speed

            print(measure_speed(spec, args.out, args.entry))
        elif not args.report_only:
            say = partial(print, flush=True)
            progress = run_all(
                spec, kept, args.out, todo, jobs=jobs, gpus=gpus, say=say, finished=report_between
            )
            failed = len(progress.failed)
        for path in report():
            print(path)
    return 2 if failed else 0
