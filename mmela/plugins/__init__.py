"""Plugins: layers that a config adds to a network with a ``plugins`` list.

The grammar is that of the toolboxes, so that a list can move from one network to another:

.. code-block:: python

    plugins=[dict(cfg=dict(type='mmela.ELA', variant='T'), position='after_stage',
                  stages=(False, True, True, True))]

Without ``stages`` an entry applies to all of them. ``cfg`` may hold a ``postfix``, which
distinguishes two layers of one type at one position. Several plugins at one position are chained
in the order of the list.

In some networks an entry may name several positions. In the neck of YOLOX it may also say
``share=True``, which uses one layer at all of its places that have the same width:

.. code-block:: python

    plugins=[dict(cfg=dict(type='mmela.ELA', variant='T'), position=('inputs', 'after_concat'),
                  share=True)]
"""

from mmela.plugins.grammar import Plugin, parse_plugins, plugins_at
from mmela.plugins.layers import add_plugins, build_plugin, run_plugins
from mmela.plugins.network import PluginNetwork, init_with_plugins

__all__ = [
    'Plugin',
    'PluginNetwork',
    'add_plugins',
    'build_plugin',
    'init_with_plugins',
    'parse_plugins',
    'plugins_at',
    'run_plugins',
]
