"""The layers that are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.timm_layers import NAMES, timm_layers
from mmela.attentions import CBAM, ECA, ELA, SE, CoordAtt
from mmela.ops import ela_reference

COPY = 'copy'
#: Rivals whose gate knows where in the map it is.
SPATIAL = ('CBAM', 'CoordAtt', 'timm ELA', 'timm CBAM', 'timm CoordAtt')


class NotHereError(Exception):
    """A layer cannot be had on this machine; the message says why."""


class PlainELA(ELA):
    """ELA by the formula, as PyTorch's autograd records it."""

    def forward(self, x: Tensor) -> Tensor:
        """See :meth:`mmela.ELA.forward`."""
        return ela_reference(
            x,
            self.conv.weight,
            self.gn.weight,
            self.gn.bias,
            self.scale,
            groups=self.conv.groups,
            num_groups=self.gn.num_groups,
            residual=bool(self.residual),
            eps=self.gn.eps,
        )


def _fused(x: Tensor, variant: str) -> nn.Module:
    if not x.is_cuda:
        raise NotHereError('the kernels run on CUDA devices')
    return ELA(x.size(1), variant, fused=True)


def _compiled(x: Tensor, variant: str) -> nn.Module:
    if not hasattr(torch, 'compile'):
        raise NotHereError('torch.compile needs torch 2')
    torch._dynamo.reset()  # each map is compiled for itself, at its own sizes
    return torch.compile(PlainELA(x.size(1), variant), dynamic=False)


def _of_timm(name: str) -> Callable[[Tensor, str], nn.Module]:
    def build(x: Tensor, variant: str) -> nn.Module:
        if name not in timm_layers():
            raise NotHereError('timm is not installed, or has no such layer')
        return timm_layers()[name](x.size(1))

    return build


#: Takes a map and a variant of ELA and builds a layer; rivals have no variant.
METHODS: Mapping[str, Callable[[Tensor, str], nn.Module]] = {
    'ELA plain': lambda x, variant: PlainELA(x.size(1), variant),
    'ELA lean': lambda x, variant: ELA(x.size(1), variant, fused=False),
    'ELA fused': _fused,
    'ELA compiled': _compiled,
    'SE': lambda x, variant: SE(x.size(1)),
    'ECA': lambda x, variant: ECA(x.size(1)),
    'CBAM': lambda x, variant: CBAM(x.size(1)),
    'CoordAtt': lambda x, variant: CoordAtt(x.size(1)),
    **{f'timm {name}': _of_timm(name) for name in NAMES},
}
