"""Reports what became of a checkpoint: what was loaded, what is new, what did not fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Size, nn

#: What the whole model is called as the target of a load.
NETWORK = 'the network'
#: Names of one kind that the report writes out before it only counts.
_NAMES_SHOWN = 3


@dataclass
class LoadReport:
    """What happened when a state dict was loaded into a network.

    Attributes:
        source: Where the state dict came from.
        target: What it was loaded into.
        loaded: Keys that were taken over.
        missing: Keys of the network that the state dict lacks.
        unexpected: Keys of the state dict that the network lacks.
        mismatched: Keys with the shapes in the network and in the state dict, where they differ.
        attentions: The attention layers of the network by their names, such as
            ``{'backbone.stage2.ela': 'ela'}``.
        notes: What has to be said of the load beside its keys.
    """

    source: str
    target: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[Size, Size]] = field(default_factory=dict)
    attentions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def attention_of(self, key: str) -> str | None:
        """The attention layer that a key belongs to.

        Args:
            key: A state-dict key.

        Returns:
            The layer's name, ``None`` if the key belongs to none.
        """
        return next((name for name in self.attentions if key.startswith(f'{name}.')), None)

    @property
    def new(self) -> list[str]:
        """Missing keys of attention layers: those start as they were initialised."""
        return [key for key in self.missing if self.attention_of(key) is not None]

    @property
    def untrained(self) -> list[str]:
        """Missing keys of anything else: there the network starts untrained."""
        return [key for key in self.missing if self.attention_of(key) is None]

    @property
    def is_complete(self) -> bool:
        """Whether every tensor found its place."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def is_futile(self) -> bool:
        """Whether the network has tensors beside its attention, and not one of them was loaded."""
        others = [k for k in (*self.missing, *self.mismatched) if self.attention_of(k) is None]
        return bool(others) and all(self.attention_of(key) is not None for key in self.loaded)

    @property
    def prefix(self) -> str:
        """What most of the missing keys have before them in the checkpoint, such as ``backbone.``.

        Empty where they have nothing.
        """
        missing = {*self.missing}
        starts = Counter(
            key[: dot.end()]
            for key in self.unexpected
            for dot in re.finditer(r'\.', key)
            if key[dot.end() :] in missing
        )
        prefix, count = max(starts.items(), key=lambda item: item[1], default=('', 0))
        # A few may be alike by chance, or a second network's beside this one's.
        return prefix if 2 * count > len(missing) and count > len(self.loaded) else ''

    def lines(self) -> list[str]:
        """The report in words, one line a finding."""
        kinds = '/'.join(sorted(set(self.attentions.values())))
        lines = [f'weights: {self.source} -> {self.target}: {len(self.loaded)} tensors loaded']
        if self.is_complete:
            lines = [f'{lines[0]}, every one in its place.']
        if self.new:
            layers = [str(self.attention_of(key)) for key in self.new]
            lines.append(
                f'  {len(self.new)} new, all of the attention ({kinds}): '
                f'{_names([f"{layer}.*" for layer in dict.fromkeys(layers)])}'
            )
        if self.unexpected:
            lines.append(
                f'  {len(self.unexpected)} unexpected, not used: {_names(self.unexpected)}'
            )
        if self.mismatched:
            shapes = [
                f'{key} {tuple(ours)} here, {tuple(theirs)} there'
                for key, (ours, theirs) in self.mismatched.items()
            ]
            lines.append(f'  {len(shapes)} of another shape, not used: {_names(shapes)}')
        return lines + [f'  NOTE: {note}' for note in self._notes()]

    def warnings(self) -> list[str]:
        """What must not be overlooked."""
        if not self.untrained:
            return []
        return [
            f'  MISSING: {len(self.untrained)} tensors that are not of the attention were not in '
            f'the checkpoint and START UNTRAINED: {_names(self.untrained)}'
        ]

    def _notes(self) -> list[str]:
        notes = list(self.notes)
        scales = {f'{name}.scale' for name in self.attentions}
        if scales & set(self.unexpected):
            notes.append(
                "the checkpoint was trained with residual='scaled', this config's attention is "
                'another function.'
            )
        new = tuple(key.removesuffix('scale') for key in scales.intersection(self.missing))
        if any(key.startswith(new) for key in self.loaded):
            notes.append(
                "this config has residual='scaled', the checkpoint was trained without it: the "
                'new scale starts at zero and switches the trained attention off.'
            )
        if any(self.attention_of(key) for key in self.mismatched):
            notes.append('the attention of the checkpoint is of another variant or width.')
        prefix = self.prefix
        if prefix and self.target == NETWORK:
            notes.append(f"the checkpoint's keys have {prefix!r} before the names of this network.")
        elif prefix:
            notes.append(
                'the checkpoint is of a whole network, of which this is a part: the init_cfg needs '
                f'prefix={prefix!r}.'
            )
        strangers = [key for key in self.unexpected if _names_attention(key)]
        if strangers and not any(self.attention_of(key.removeprefix(prefix)) for key in strangers):
            notes.append(
                f"the checkpoint holds attention that this config has no 'plugins' for: "
                f'{_names(strangers)}'
            )
        return notes


def attention_layers(model: nn.Module) -> dict[str, str]:
    """Finds the attention layers of a network.

    Args:
        model: The network.

    Returns:
        The names of all layers that come, by class or by inheritance, from
        :mod:`mmela.attentions`, each with its abbreviation.
    """
    return {
        name: getattr(module, '_abbr_', type(module).__name__)
        for name, module in model.named_modules()
        if any(base.__module__.startswith('mmela.attentions') for base in type(module).__mro__)
    }


def compare(
    ours: Mapping[str, Size],
    theirs: Mapping[str, Size],
    *,
    missing: Iterable[str],
    unexpected: Iterable[str],
    source: str,
    target: str,
    attentions: dict[str, str],
    notes: Iterable[str] = (),
) -> LoadReport:
    """Sorts the keys of a network by what a load did to them.

    Args:
        ours: Shapes of the network's tensors.
        theirs: Shapes of the checkpoint's tensors.
        missing: What PyTorch found missing; a layer may have renamed keys while it loaded.
        unexpected: What PyTorch found unexpected.
        source: Where the weights came from.
        target: What they were loaded into.
        attentions: The network's attention layers and their abbreviations.
        notes: What has to be said of the load beside its keys.

    Returns:
        The report.
    """
    # Counters of BatchNorm are absent from many old checkpoints, nothing depends on them, and
    # PyTorch invents them for some.
    counters = {k for k in ours if k.endswith('num_batches_tracked') and k not in theirs}
    lacking = [key for key in missing if key not in counters]
    mismatched = {
        key: (shape, theirs[key])
        for key, shape in ours.items()
        if key in theirs and theirs[key] != shape
    }
    skipped = {*missing, *mismatched, *counters}
    return LoadReport(
        source=source,
        target=target,
        loaded=[key for key in ours if key not in skipped],
        missing=lacking,
        unexpected=list(unexpected),
        mismatched=mismatched,
        attentions=attentions,
        notes=list(notes),
    )


def _names(keys: list[str]) -> str:
    shown = ', '.join(keys[:_NAMES_SHOWN])
    return f'{shown}, ...' if len(keys) > _NAMES_SHOWN else shown


def _names_attention(key: str) -> bool:
    import mmela.attentions as room

    layers = [getattr(room, name) for name in room.__all__]
    abbreviations = '|'.join(layer._abbr_ for layer in layers if hasattr(layer, '_abbr_'))
    return re.search(rf'(^|\.)({abbreviations})(\d*|_\w+)\.', key) is not None
