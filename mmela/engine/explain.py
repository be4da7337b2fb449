"""A person's mistake ends in one message on stderr and exit status 2, never in a traceback."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmela.errors import UserError, did_you_mean


@contextmanager
def explain_config_errors() -> Iterator[None]:
    """Translates what MMEngine's registries say about a config into a sentence.

    Only what a registry raises itself is translated: a type that nobody registered and an
    argument that a type does not take. Whatever fails inside a class keeps its traceback.

    Raises:
        UserError: In place of the registry's ``KeyError`` or ``TypeError``.
    """
    try:
        yield
    except KeyError as error:
        sentence = _unknown_type(str(error.args[0]) if error.args else '')
        if sentence is None:
            raise
        raise UserError(sentence) from error
    except TypeError as error:
        if not _raised_by_registry(error):
            raise
        raise UserError(f'the config does not fit the code: {_first_line(error)}.') from error


def _unknown_type(message: str) -> str | None:
    match = re.search(r'([\w.:]+) is not in the (?:(\w+)::)?([\w ]+) registry', message)
    if match is None:
        return None
    name, scope, kind = match.groups()
    of = f'{scope} and its parents have' if scope else 'it has'
    return (
        f"the config asks for type '{name}', and among every '{kind}' that {of} registered there "
        f'is none of that name{did_you_mean(name, _registered(scope, kind))}'
        ' A type of your own needs custom_imports in the config.'
    )


def _registered(scope: str | None, kind: str) -> set[str]:
    from mmengine import registry as mmengine_registry

    names: set[str] = set()
    for root in vars(mmengine_registry).values():
        if isinstance(root, mmengine_registry.Registry) and root.name == kind:
            names.update(root.module_dict)
            if scope in root.children:
                names.update(root.children[scope].module_dict)
    return names


def _raised_by_registry(error: TypeError) -> bool:
    """Whether the call from a config failed, rather than something inside what was called."""
    frames = traceback.extract_tb(error.__traceback__)
    wrong_arguments = re.search(
        r'unexpected keyword argument|required (positional|keyword-only) argument|'
        r'multiple values for',
        str(error),
    )
    return bool(wrong_arguments and frames and frames[-1].name.startswith('build_'))


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip('.')
