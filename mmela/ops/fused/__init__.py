"""Efficient Local Attention in one to three launches of Triton kernels in each direction.

Floor by floor: `strips`, `gates` and `maps` are device code, `kernels` puts them into three
kernels, `plan` decides by arithmetic which launches a map gets, `launch` makes them, `autograd` and
`library` make them a function of PyTorch, in eager mode and under ``torch.compile``. `availability`
says why they cannot be had. Nothing here imports Triton before a map asks for the kernels.

Forward reads the map once and writes once where a closed unit of channels stays in an SM's cache,
and reads it twice elsewhere; backward reads map and gradient once each, and the gradient once more
where it is not cached. Backward keeps the map, which is the layer's input, and vectors: the means
and the normalised strips, 8 (1 / H + 1 / W) bytes an element of the map.
"""

from mmela.ops.fused.availability import unavailable

__all__ = ['unavailable']
