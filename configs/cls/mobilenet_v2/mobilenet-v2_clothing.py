_base_ = ['mmpretrain::_base_/models/mobilenet_v2_1x.py', '../../_base_/clothing.py']

# Half the width, small enough to train on two CPU cores.
model = dict(
    backbone=dict(
        widen_factor=0.5,
    ),
    head=dict(num_classes=10, topk=1),
)
