"""Writes the results of benchmarks/accuracy into the pages: ``make tables``.

A page names what it shows in a comment, ``<!-- accuracy: summary -->``, or the folder of a
comparison in place of ``summary``; what stands between it and ``<!-- end -->`` is written anew.
"""

from __future__ import annotations

import ast
import math
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from mmela.analysis.compare.schedule import results_of
from mmela.analysis.compare.spec import Spec, read_spec
from mmela.analysis.compare.statistics import Comparison
from mmela.analysis.compare.tables import comparisons, last_validations

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'benchmarks/accuracy'
_MARKED = re.compile(r'(<!-- accuracy: ([\w-]+) -->\n).*?(<!-- end -->)', re.DOTALL)
#: A comparison with fewer is not finished, and the summary leaves it out.
_SEEDS = 5
#: Columns of the summary, and the entries that they show.
_COLUMNS = {
    'SE': 'SE',
    'CoordAtt': 'CoordAtt',
    'ELA': r'ELA-\w',
    'ELA residual': r'ELA-\w residual',
    'ELA scaled': r'ELA-\w scaled',
}


def main() -> None:
    """Writes all pages and names those that changed."""
    for page in pages():
        old = page.read_text(encoding='utf-8')
        new = filled(old)
        if new != old:
            page.write_text(new, encoding='utf-8')
            print(page.relative_to(ROOT))


def pages() -> list[Path]:
    """The pages with marked tables."""
    listed = subprocess.run(
        ['git', 'ls-files', '*.md'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [ROOT / name for name in listed.stdout.splitlines()]
    return [page for page in found if _MARKED.search(page.read_text(encoding='utf-8'))]


def filled(text: str) -> str:
    """A page with its tables as the results have them now."""

    def table(found: re.Match) -> str:
        name = found[2]
        rows = summary() if name == 'summary' else entries(name)
        return found[1] + '\n' + '\n'.join(rows) + '\n\n' + found[3]

    return _MARKED.sub(table, text)


def summary() -> list[str]:
    """A row for each comparison, with the usual entries as columns."""
    lines = [
        '| training | seeds | without | ' + ' | '.join(_COLUMNS) + ' |',
        '|---|---|---|' + '---|' * len(_COLUMNS),
    ]
    for spec_file in sorted(FOLDER.glob('*/spec.py')):
        spec, table, _ = _read(spec_file.parent.name)
        scale = _scale(spec)
        shown = {name: _named(table, pattern) for name, pattern in _COLUMNS.items()}
        reference = table[spec.reference]
        if any(found.seeds < _SEEDS for found in (reference, *shown.values()) if found):
            continue
        cells = [_difference(found, scale) for found in shown.values()]
        if reference is None or not any(cells):  # of settings that have no column
            continue
        title = f'[{_title(spec_file)}](benchmarks/accuracy/{spec_file.parent.name}/report.md)'
        lines.append(
            f'| {title}, {_metric(spec)} | {reference.seeds} | {reference.mean * scale:.1f} | '
            + ' | '.join(cells)
            + ' |'
        )
    return lines


def entries(name: str) -> list[str]:
    """A row for each entry of one comparison."""
    spec, table, validated = _read(name)
    more = ['the same on the validation images'] if validated else []
    columns = ['attention', 'seeds', _metric(spec), 'difference, 95 % interval', *more]
    lines = ['| ' + ' | '.join(columns) + ' |', '|---' * len(columns) + '|']
    for entry, found in table.items():
        if found is not None:
            scale = _scale(spec)
            deviation = '' if math.isnan(found.deviation) else f' ± {found.deviation * scale:.1f}'
            cells = [entry, str(found.seeds), f'{found.mean * scale:.1f}{deviation}']
            for looked_at in (table, validated) if validated else (table,):
                is_reference = entry == spec.reference
                cells.append('' if is_reference else _difference(looked_at[entry], scale))
            lines.append('| ' + ' | '.join(cells) + ' |')
    return lines


def _read(name: str) -> tuple[Spec, dict[str, Comparison | None], dict[str, Comparison | None]]:
    spec = read_spec(str(FOLDER / name / 'spec.py'))
    results = results_of(spec, str(FOLDER / name))
    return spec, comparisons(spec, results, spec.metric), last_validations(spec, results)


def _named(table: Mapping[str, Comparison | None], pattern: str) -> Comparison | None:
    return next((found for entry, found in table.items() if re.fullmatch(pattern, entry)), None)


def _title(spec_file: Path) -> str:
    text = ast.get_docstring(ast.parse(spec_file.read_text(encoding='utf-8'))) or ''
    return text.split('\n')[0].rstrip('.')


def _metric(spec: Spec) -> str:
    return {'coco/bbox_mAP': 'box AP', 'accuracy/top1': 'top-1'}.get(spec.metric, spec.metric)


def _scale(spec: Spec) -> float:
    """COCO's metrics are fractions, the others percent."""
    return 100 if spec.metric.startswith('coco/') else 1


def _difference(found: Comparison | None, scale: float) -> str:
    if found is None:
        return ''
    text = f'{found.difference * scale:+.1f}'
    if not math.isnan(found.low):
        text += f' ({found.low * scale:+.1f} to {found.high * scale:+.1f})'
    return f'**{text}**' if found.is_shown else text


if __name__ == '__main__':
    main()
