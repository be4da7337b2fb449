_base_ = [
    'mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py',
    '../../_base_/plugins_c3_c5.py',
]

model = dict(backbone=dict(plugins={{_base_.ela_s_scaled_c3_c5}}))
