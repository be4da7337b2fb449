"""A devkit of VOC, and the tools as commands."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from voc_files import voc_object, write_voc

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'


@pytest.fixture
def devkit(tmp_path):
    """What occurs in VOC: coordinates with a decimal point, difficult objects, parts of objects."""
    root = tmp_path / 'VOCdevkit'
    write_voc(
        root / 'VOC2007',
        {
            '000001': [voc_object('dog', (11, 6, 31, 26))],
            '000002': [voc_object('cat', (1, 1, 60, 40)), voc_object('dog', (5, 5, 9, 9), 1)],
            '000003': [voc_object('person', (7, 8, 7, 30)), voc_object('car', (2, 2, 20, 20))],
        },
        trainval=['000001', '000002'],
        test=['000003'],
    )
    write_voc(
        root / 'VOC2012',
        {'2011_000001': [voc_object('train', (11.0, 6.5, 45.70000076293945, 26), None)]},
        trainval=['2011_000001'],
    )
    return root


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a tool; returns its exit status, what it printed, and what it wrote to stderr."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        try:
            status = runpy.run_path(str(TOOLS / name))['main']()
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run
