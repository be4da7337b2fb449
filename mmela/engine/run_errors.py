"""Errors of PyTorch during a run whose fix is a setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from mmela.errors import UserError

#: What PyTorch says, and the answer.
_ANSWERS = {
    r'Expected more than 1 value per channel when training': (
        'a batch holds one image, and a BatchNorm layer met a map of one pixel, of which it cannot '
        'take statistics: the last batch is smaller than the others, '
        '--cfg-options train_dataloader.drop_last=True, or all are, '
        '--cfg-options train_dataloader.batch_size=2.'
    ),
    r'Expected to have finished reduction in the prior iteration': (
        'some parameters take no part in the loss, which training in several processes does not '
        'allow by default: --cfg-options find_unused_parameters=True, or take the layers that are '
        'not used out of the model.'
    ),
    r'Target -?\d+ is out of bounds': (
        'a mask or label holds a value that is no class of the head: '
        'python tools/misc/verify_dataset.py CONFIG names the files.'
    ),
}


@contextmanager
def explain_run_errors() -> Iterator[None]:
    """Translates errors of PyTorch that a setting avoids.

    Raises:
        UserError: In place of PyTorch's error, whose first line it quotes.
    """
    try:
        yield
    except (ValueError, RuntimeError, IndexError) as error:
        for pattern, answer in _ANSWERS.items():
            if re.search(pattern, str(error)):
                quoted = re.split(r'(?<=\w)[.\n]', str(error).strip())[0]
                raise UserError(f'{answer} (PyTorch: {quoted})') from error
        raise
