"""Plugin layers: Efficient Local Attention and the baselines of its paper."""

from mmela.attentions.base import Attention
from mmela.attentions.cbam import CBAM
from mmela.attentions.coord_att import CoordAtt
from mmela.attentions.eca import ECA
from mmela.attentions.ela import ELA
from mmela.attentions.se import SE

__all__ = ['CBAM', 'ECA', 'ELA', 'SE', 'Attention', 'CoordAtt']
