"""What became of a checkpoint: what was loaded, what is new, what did not fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Size, nn

import mmela.attentions
from mmela.errors import listed

#: What the report calls the whole model.
NETWORK = 'the network'
#: How many names of one kind the report writes out.
_NAMES_SHOWN = 3
#: Measured: benchmarks/accuracy/yolox_nano_bccd and yolox_nano_nuclei.
_PLAIN = (
    "the new attention replaces trained features by a fraction of them; residual=True or 'scaled' "
    'keeps them, which was better in our fine-tunings (docs/own_data.md).'
)


@dataclass
class LoadReport:
    """What happened when a state dict was loaded into a network.

    Attributes:
        source: Where the state dict came from.
        target: What it was loaded into.
        loaded: Keys that were loaded.
        missing: Keys of the network that the state dict lacks.
        unexpected: Keys of the state dict that the network lacks.
        mismatched: Keys with the shapes in the network and in the state dict, where they differ.
        attentions: The attention layers of the network by their names, such as
            ``{'backbone.stage2.ela': 'ela'}``.
        notes: Further findings.
    """

    source: str
    target: str
    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: dict[str, tuple[Size, Size]]
    attentions: dict[str, str]
    notes: list[str]

    def attention_of(self, key: str) -> str | None:
        """The name of the attention layer that a state-dict key belongs to, if there is one."""
        return next((name for name in self.attentions if key.startswith(f'{name}.')), None)

    @property
    def new(self) -> list[str]:
        """Missing keys of attention layers, which start as they were initialised."""
        return [key for key in self.missing if self.attention_of(key) is not None]

    @property
    def untrained(self) -> list[str]:
        """Missing keys of other layers, which start untrained."""
        return [key for key in self.missing if self.attention_of(key) is None]

    @property
    def is_complete(self) -> bool:
        """Whether the keys and shapes of both sides are the same."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def is_useless(self) -> bool:
        """Whether the network has tensors beside its attention, and none of them was loaded."""
        others = [k for k in (*self.missing, *self.mismatched) if self.attention_of(k) is None]
        return bool(others) and all(self.attention_of(key) is not None for key in self.loaded)

    @property
    def prefix(self) -> str:
        """What most missing keys are prefixed with in the checkpoint, such as ``backbone.``."""
        missing = {*self.missing}
        prefixes = Counter(
            key[: dot.end()]
            for key in self.unexpected
            for dot in re.finditer(r'\.', key)
            if key[dot.end() :] in missing
        )
        prefix, count = max(prefixes.items(), key=lambda item: item[1], default=('', 0))
        # A few keys may match by chance, or belong to a second network beside this one.
        return prefix if 2 * count > len(missing) and count > len(self.loaded) else ''

    def lines(self) -> list[str]:
        """The report in words, one line a finding."""
        first = f'weights: {self.source} -> {self.target}: {len(self.loaded)} tensors loaded'
        lines = [f'{first}, every one in its place.' if self.is_complete else first]
        shapes = [
            f'{key} {tuple(ours)} here, {tuple(theirs)} there'
            for key, (ours, theirs) in self.mismatched.items()
        ]
        kinds = '/'.join(sorted(set(self.attentions.values())))
        for kind, keys, names in (
            (f'new, all of the attention ({kinds})', self.new, self._layers_of(self.new)),
            ('unexpected, not used', self.unexpected, self.unexpected),
            ('of another shape, not used', shapes, shapes),
        ):
            if keys:
                lines.append(f'  {len(keys)} {kind}: {listed(names, _NAMES_SHOWN)}')
        return lines + [f'  NOTE: {note}' for note in (*self.notes, *self._notes_on_keys())]

    def warnings(self) -> list[str]:
        """What must not be overlooked."""
        if not self.untrained:
            return []
        return [
            f'  MISSING: {len(self.untrained)} tensors that are not of the attention are not in '
            f'the checkpoint and START UNTRAINED: {listed(self.untrained, _NAMES_SHOWN)}'
        ]

    def _layers_of(self, keys: list[str]) -> list[str]:
        return list(dict.fromkeys(f'{self.attention_of(key)}.*' for key in keys))

    def _notes_on_keys(self) -> Iterator[str]:
        scales = {f'{name}.scale' for name in self.attentions}
        if scales & {*self.unexpected}:
            yield (
                "the checkpoint was trained with residual='scaled', which this config's attention "
                'does not have.'
            )
        new = tuple(key.removesuffix('scale') for key in scales & {*self.missing})
        if any(key.startswith(new) for key in self.loaded):
            yield (
                "this config has residual='scaled', the checkpoint was trained without it: the "
                'new scale starts at zero and switches the trained attention off.'
            )
        if any(self.attention_of(key) for key in self.mismatched):
            yield 'the attention of the checkpoint is of another variant or width.'
        prefix = self.prefix
        if prefix and self.target == NETWORK:
            yield f"the checkpoint's keys have {prefix!r} before the names of this network."
        elif prefix:
            yield (
                'the checkpoint is of a whole network, of which this is a part: the init_cfg needs '
                f'prefix={prefix!r}.'
            )
        others = [key for key in self.unexpected if _is_of_attention(key)]
        if others and not any(self.attention_of(key.removeprefix(prefix)) for key in others):
            names = listed(others, _NAMES_SHOWN)
            yield f"the checkpoint has attention that this config has no 'plugins' for: {names}"


class LoadWatch:
    """Reports what is loaded into a module, by PyTorch's hooks on loading.

    Args:
        module: The module to watch. Only loads that start at it are reported, not those of a
            parent.
        source: Where the weights will come from.
        target: What the report calls the module.
        report: Called with each report.

    Attributes:
        notes: Further findings for the next report.
    """

    def __init__(
        self, module: nn.Module, source: str, target: str, report: Callable[[LoadReport], None]
    ) -> None:
        self.module = module
        self.source = source
        self.target = target
        self.report = report
        self.notes: list[str] = []
        self._shapes: dict[str, Size] | None = None
        self._handles = [
            # The public name of this hook is newer than the oldest supported torch.
            module._register_load_state_dict_pre_hook(self._before, with_module=False),
            module.register_load_state_dict_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Ends the watch."""
        for handle in self._handles:
            handle.remove()

    def _before(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        is_start = prefix == ''
        self._shapes = {k: v.shape for k, v in state_dict.items()} if is_start else None

    def _after(self, module: nn.Module, incompatible: Any) -> None:
        theirs, self._shapes = self._shapes, None
        if theirs is None:
            return
        ours = {key: tensor.shape for key, tensor in module.state_dict().items()}
        # Many old checkpoints lack the counters of BatchNorm; nothing depends on them, and PyTorch
        # adds them to some.
        counters = {k for k in ours if k.endswith('num_batches_tracked') and k not in theirs}
        mismatched = {
            key: (shape, theirs[key])
            for key, shape in ours.items()
            if key in theirs and theirs[key] != shape
        }
        not_loaded = {*incompatible.missing_keys, *mismatched, *counters}
        notes, self.notes = self.notes, []
        report = LoadReport(
            source=self.source,
            target=self.target,
            loaded=[key for key in ours if key not in not_loaded],
            missing=[key for key in incompatible.missing_keys if key not in counters],
            unexpected=list(incompatible.unexpected_keys),
            mismatched=mismatched,
            attentions=attention_layers(module),
            notes=notes,
        )
        layers = dict(module.named_modules())
        new = {report.attention_of(key) for key in report.new}
        if not report.is_useless and any(
            getattr(layers[name], 'residual', None) is False for name in new
        ):
            notes.append(_PLAIN)
        self.report(report)


def attention_layers(model: nn.Module) -> dict[str, str]:
    """Finds the attention layers of a network.

    Returns:
        The names of all layers whose class is, or inherits from, one of :mod:`mmela.attentions`,
        each with its abbreviation.
    """
    return {
        name: getattr(module, '_abbr_', type(module).__name__)
        for name, module in model.named_modules()
        if any(base.__module__.startswith('mmela.attentions') for base in type(module).__mro__)
    }


def note_on_preprocessing(meta: Mapping[str, Any], cfg: Mapping[str, Any]) -> str | None:
    """Compares the preprocessing that a checkpoint was trained with with that of a config.

    Nothing else would show the difference: the network is the same and every tensor fits.

    Args:
        meta: ``meta`` of a checkpoint. The converters of ``tools/model_converters`` write ``mean``,
            ``std`` and ``bgr_to_rgb`` by MMEngine's rules under ``data_preprocessor``, and the
            config that belongs to it under ``converted_for``.
        cfg: A config.

    Returns:
        How they differ; None where they do not or the checkpoint has no such entry.
    """
    theirs = meta.get('data_preprocessor')
    if not isinstance(theirs, Mapping):
        return None
    model = cfg['model']
    model = model.get('module', model)  # inside test-time augmentation
    ours = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    there, here = _describe(theirs), _describe(ours)
    if there == here:
        return None
    fix = f'; it is for {meta["converted_for"]}' if 'converted_for' in meta else ''
    return f'the checkpoint was trained on images in {there}, here they are {here}{fix}.'


def _describe(preprocessor: Mapping[str, Any]) -> str:
    """Channel order and normalisation in words, the same for the same preprocessing."""
    swapped = preprocessor.get('bgr_to_rgb') or preprocessor.get('rgb_to_bgr')
    channels = 'RGB' if swapped else 'BGR'  # MMCV reads BGR
    constants = []
    for key, default in (('mean', 0), ('std', 1)):
        values = list(preprocessor.get(key) or [default])
        values = values * 3 if len(values) == 1 else values
        # Rounded, because 0.485 * 255 is another float than 123.675.
        constants.append(', '.join(f'{round(value, 3):g}' for value in values))
    if constants == ['0, 0, 0', '1, 1, 1']:
        return f'{channels} from 0 to 255'
    return f'{channels} (mean {constants[0]}, std {constants[1]})'


def _is_of_attention(key: str) -> bool:
    """Whether a key looks like one of mmela's attention layers, such as ``layer1.0.ela.scale``."""
    layers = [getattr(mmela.attentions, name) for name in mmela.attentions.__all__]
    abbreviations = '|'.join(layer._abbr_ for layer in layers if hasattr(layer, '_abbr_'))
    return re.search(rf'(^|\.)({abbreviations})(\d*|_\w+)\.', key) is not None
