_base_ = './tiny_seg.py'

custom_imports = dict(imports=['rank_loss'])
custom_hooks = [dict(type='RankLossHook')]
