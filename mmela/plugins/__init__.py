"""The one grammar of a ``plugins`` list: parse, check, build.

It is the toolboxes' own grammar, so that a list can move from one network to another:

.. code-block:: python

    plugins=[dict(cfg=dict(type='mmela.ELA', variant='T'), position='after_stage',
                  stages=(False, True, True, True))]

``stages`` may be left out and then means all of them. ``cfg`` may hold a ``postfix`` that tells
two layers of one type at one position apart. Several plugins at one position are chained in the
order of the list.

Some networks let an entry name several positions, and MMDetection's neck of YOLOX lets it say
``share=True``, which uses one layer at all of its places that have equal width:

.. code-block:: python

    plugins=[dict(cfg=dict(type='mmela.ELA', variant='T'), position=('inputs', 'after_concat'),
                  share=True)]
"""

from mmela.plugins.grammar import Plugin, at, parse_plugins
from mmela.plugins.layers import (
    add_plugins,
    build_plugin,
    init_with_plugins,
    run_plugins,
    warn_if_frozen,
)

__all__ = [
    'Plugin',
    'add_plugins',
    'at',
    'build_plugin',
    'init_with_plugins',
    'parse_plugins',
    'run_plugins',
    'warn_if_frozen',
]
