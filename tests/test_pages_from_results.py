"""Tables in the pages are those of the committed results, and `make matrix` writes only its row."""

import matrix
import pytest
from scipy import stats

from benchmarks.accuracy_tables import filled, pages


@pytest.mark.long
@pytest.mark.core
def test_the_pages_show_the_committed_results(repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)
    marked = pages()
    assert repo_root / 'README.md' in marked
    for page in marked:
        text = page.read_text()
        assert filled(text) == text, f'{page}: make tables'
        assert '|---|' in text.partition('<!-- accuracy: ')[2].partition('<!-- end -->')[0]


def test_the_summary_has_the_difference_of_a_paired_t_test_in_percent(repo_root, monkeypatch):
    """By hand from the table of runs in the report of the first comparison."""
    report = (repo_root / 'benchmarks/accuracy/yolox_nano_bccd/report.md').read_text()
    rows = [line.split('|')[1:4] for line in report.splitlines() if '--out again`' in line]
    values = {}
    for entry, seed, value in rows:
        values.setdefault(entry.strip(), {})[int(seed)] = float(value)
    ours, plain = ([100 * values[name][seed] for seed in range(5)] for name in ('ELA-T', 'none'))
    low, high = stats.ttest_rel(ours, plain).confidence_interval()
    shown = f'{(sum(ours) - sum(plain)) / 5:+.1f} ({low:+.1f} to {high:+.1f})'
    assert shown in (repo_root / 'README.md').read_text()


def test_the_matrix_types_the_lines_of_the_readme():
    first, second = matrix.install_lines('openmmlab,openmmlab-cls')
    assert first.startswith("pip install 'setuptools>=77,<82' wheel")
    assert second == "pip install --no-build-isolation '.[openmmlab,openmmlab-cls]'"


def test_the_matrix_replaces_its_row_and_leaves_the_others(tmp_path, monkeypatch):
    page = tmp_path / 'page.md'
    page.write_text('before\n\n<!-- matrix -->\n<!-- end -->\n\nafter\n')
    monkeypatch.setattr(matrix, 'PAGE', page)
    matrix.write_row('old', {'torch': '2.1.2'})
    matrix.write_row('new', {'torch': '2.13.0'})
    matrix.write_row('old', {'torch': '2.1.3', 'doctor': 'ok'})
    lines = page.read_text().splitlines()
    assert [line.split('|')[1].strip() for line in lines if '|' in line][2:] == ['old', 'new']
    assert '2.1.2' not in page.read_text() and '| 2.1.3 |' in page.read_text()
    assert lines[0] == 'before' and lines[-1] == 'after'
