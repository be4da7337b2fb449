"""The gate of Efficient Local Attention as pure functions of tensors."""

from mmela.ops.dispatch import ela
from mmela.ops.lean import ela_lean
from mmela.ops.recompute import recompute_outputs
from mmela.ops.reference import apply_gates, axis_gate, ela_gates, ela_reference, strip_means

__all__ = [
    'apply_gates',
    'axis_gate',
    'ela',
    'ela_gates',
    'ela_lean',
    'ela_reference',
    'recompute_outputs',
    'strip_means',
]
