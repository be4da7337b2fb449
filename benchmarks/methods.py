"""The layers that are compared."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mmela.attentions import CBAM, ECA, ELA, SE, CoordAtt
from mmela.ops import ela_reference

COPY = 'copy'
#: timm's layers, by our names.
TIMM_LAYERS = {
    'ELA': 'coord_attn.EfficientLocalAttn',
    'SE': 'squeeze_excite.SEModule',
    'ECA': 'eca.EcaModule',
    'CBAM': 'cbam.CbamModule',
    'CoordAtt': 'coord_attn.CoordAttn',
}


class UnavailableError(Exception):
    """A layer that cannot be measured on this machine; the message gives the reason."""


class PlainELA(ELA):
    """ELA by the formula, differentiated by PyTorch's autograd."""

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


def timm_layer(name: str) -> type[nn.Module]:
    """Imports an attention layer of timm.

    Args:
        name: A key of :data:`TIMM_LAYERS`.

    Raises:
        UnavailableError: If timm cannot be imported or has no such layer.
    """
    module, layer = TIMM_LAYERS[name].split('.')
    try:
        return getattr(importlib.import_module(f'timm.layers.{module}'), layer)
    # A timm or torchvision that does not match torch raises more than ImportError.
    except Exception as error:
        raise UnavailableError(
            f'timm.layers.{TIMM_LAYERS[name]} cannot be imported ({error})'
        ) from error


def _fused(x: Tensor, variant: str) -> nn.Module:
    if not x.is_cuda:
        raise UnavailableError('the kernels run on CUDA devices')
    return ELA(x.size(1), variant, fused=True)


def _compiled(x: Tensor, variant: str) -> nn.Module:
    if not hasattr(torch, 'compile'):
        raise UnavailableError('torch.compile needs torch 2')
    torch._dynamo.reset()  # compile each map at its own fixed size
    return torch.compile(PlainELA(x.size(1), variant), dynamic=False)


def _of_timm(name: str) -> Callable[[Tensor, str], nn.Module]:
    return lambda x, variant: timm_layer(name)(x.size(1))


#: Builds a layer from a map and a variant of ELA; the baselines ignore the variant.
METHODS: Mapping[str, Callable[[Tensor, str], nn.Module]] = {
    'ELA plain': lambda x, variant: PlainELA(x.size(1), variant),
    'ELA lean': lambda x, variant: ELA(x.size(1), variant, fused=False),
    'ELA fused': _fused,
    'ELA compiled': _compiled,
    'SE': lambda x, variant: SE(x.size(1)),
    'ECA': lambda x, variant: ECA(x.size(1)),
    'CBAM': lambda x, variant: CBAM(x.size(1)),
    'CoordAtt': lambda x, variant: CoordAtt(x.size(1)),
    **{f'timm {name}': _of_timm(name) for name in TIMM_LAYERS},
}
