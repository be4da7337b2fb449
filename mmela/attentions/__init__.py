"""Plugin layers: Efficient Local Attention and what it is compared with."""

from mmela.attentions.ela import ELA

__all__ = ['ELA']
