"""Pure Python configs: types are classes there, and the tools read them as text configs."""

from __future__ import annotations

from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.registry import Registry


def name_types(cfg: Config) -> None:
    """Replaces every ``type`` that is a class by the name that it is registered under.

    What is registered nowhere stays a class, which MMEngine builds as well. ``default_scope``,
    which such configs need not have, becomes that of the model.

    Args:
        cfg: The config; changed in place. A text config stays as it is.

    Raises:
        ImportError: If a module or name that the config imports does not exist.
    """
    for value in cfg.values():  # the values, and not the config: those of MMEngine are lazy
        _name_types(value)
    scope = str((cfg.get('model') or {}).get('type', '')).partition('.')[0]
    if cfg.get('default_scope') is None and scope in ('mmdet', 'mmseg', 'mmpretrain'):
        cfg.default_scope = scope


def _name_types(node: Any) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'type' and callable(value):
                node[key] = _registered_name(value) or value
            else:
                _name_types(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            _name_types(item)


def _registered_name(cls: Any) -> str | None:
    roots = [root for root in vars(mmengine_registry).values() if isinstance(root, Registry)]
    for registry in [child for root in roots for child in (*root.children.values(), root)]:
        names = [name for name, known in registry.module_dict.items() if known is cls]
        if names:
            own = getattr(cls, '__name__', '')
            name = own if own in names else names[0]
            return name if registry.parent is None else f'{registry.scope}.{name}'
    return None
