_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'

# The recipe of ELA's authors, the defaults of `MbV2/imagenet.py` in their repository: 200 epochs
# with 256 images per step; the learning rate decays exponentially to a tenth (per step in their
# code, per epoch here).
# `gamma` is computed when this file is read: to train longer, override `gamma` as well.
max_epochs = 200
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(
    _delete_=True, type='ExponentialLR', by_epoch=True, gamma=0.1 ** (1 / max_epochs)
)
train_cfg = dict(max_epochs=max_epochs)
