_base_ = './tiny_cls.py'

custom_imports = dict(imports=['rank_loss'])
custom_hooks = [dict(type='RankLossHook')]
