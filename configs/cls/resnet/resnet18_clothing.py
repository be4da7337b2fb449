_base_ = ['mmpretrain::_base_/models/resnet18.py', '../../_base_/clothing.py']

# Half the width, small enough to train on two CPU cores.
model = dict(
    backbone=dict(
        stem_channels=32,
        base_channels=32,
    ),
    head=dict(num_classes=10, in_channels=256, topk=1),
)
