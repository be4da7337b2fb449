"""The demo's steps: a failure is one sentence, and its table holds what was measured."""

import io

import pytest
from rich.console import Console

from demo.run import Outcome, make_data, print_outcomes, run_tool
from demo.tasks import DATA_ROOT, TASKS
from mmela.engine import UserError


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / 'tools').mkdir()
    return tmp_path


def test_a_failed_step_stops_the_demo_with_its_command_and_status(checkout):
    (checkout / 'tools' / 'train.py').write_text('raise SystemExit(3)')
    with pytest.raises(UserError, match=r'`python tools/train.py a.py` exited with status 3'):
        run_tool(checkout, 'train.py', 'a.py')


def test_a_tool_runs_in_the_checkout_with_relative_paths(checkout):
    (checkout / 'tools' / 'test.py').write_text(
        'import os, sys; open("seen.txt", "w").write(" ".join(sys.argv))'
    )
    run_tool(checkout, 'test.py', 'a.py', '--work-dir', str(checkout / 'work_dirs' / 'x'))
    assert (checkout / 'seen.txt').read_text() == 'tools/test.py a.py --work-dir work_dirs/x'


def test_other_files_are_not_overwritten(checkout):
    folder = checkout / DATA_ROOT
    folder.mkdir(parents=True)
    (folder / 'letter.txt').write_text('keep me')
    with pytest.raises(UserError, match='choose another'):
        make_data(checkout)


def test_the_table_shows_each_task_before_and_after(tmp_path):
    outcomes = {task.title: Outcome(0.111 * i, 0.222 * i, 60) for i, task in enumerate(TASKS, 1)}
    stream = io.StringIO()
    print_outcomes(outcomes, 300, tmp_path / 'overview.jpg', Console(file=stream, width=200))
    printed = stream.getvalue()
    for words in ('AP50', '0.111', '0.222', 'mIoU', '0.444', '60 s', 'overview.jpg', '300 s'):
        assert words in printed
