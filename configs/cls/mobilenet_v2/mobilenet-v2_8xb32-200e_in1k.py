_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'

# The recipe of ELA's authors, the defaults of `MbV2/imagenet.py` in their repository: 200 epochs
# with 256 images a step, in which the learning rate falls evenly to a tenth. (Theirs falls at every
# step and not at every epoch.)
# `gamma` is a number once this file is read: who changes the length has to change `gamma` too.
max_epochs = 200
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(
    _delete_=True, type='ExponentialLR', by_epoch=True, gamma=0.1 ** (1 / max_epochs)
)
train_cfg = dict(max_epochs=max_epochs)
