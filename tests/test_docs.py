"""The pages: their links lead somewhere, and what they tell a reader to run is there."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / name
    for name in subprocess.run(
        ['git', 'ls-files', '*.md'], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
] or sorted(p for p in ROOT.glob('**/*.md') if '.venv' not in p.parts)
WITHOUT_CODE = re.compile(r'^```.*?^```', re.MULTILINE | re.DOTALL)


def page_id(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_links_lead_to_files(page):
    text = WITHOUT_CODE.sub('', page.read_text())
    links = re.findall(r'\]\(([^)#\s]+)(?:#[^)]*)?\)', text)
    missing = [
        link for link in links if '://' not in link and not (page.parent / link).resolve().exists()
    ]
    assert not missing


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_files_in_commands_exist(page):
    """Commands run from the root; names in capitals stand for a reader's own files."""
    words = re.findall(
        r'(?<![\w/.])(?:tools|configs|benchmarks|weights|tests)/[\w./-]+\w', page.read_text()
    )
    of_others = {'tools/misc/download_dataset.py'}  # of MMDetection
    missing = sorted({word for word in words if not (ROOT / word).exists()} - of_others)
    assert not missing


def test_python_blocks_are_python():
    for page in PAGES:
        for block in re.findall(
            r'^```python\n(.*?)^```', page.read_text(), re.MULTILINE | re.DOTALL
        ):
            compile(block.replace('...)', ')'), page_id(page), 'exec')
