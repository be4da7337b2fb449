# By iteration, with everything that draws random numbers: flips, colours, dropout, validation.
_base_ = './tiny_seg.py'

custom_imports = dict(imports=['interrupt'])
custom_hooks = [dict(type='TraceHook')]
model = dict(decode_head=dict(dropout_ratio=0.5))
train_dataloader = dict(
    batch_size=2,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ]
    ),
)
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=8, val_interval=3)
optim_wrapper = dict(optimizer=dict(momentum=0.9))
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=8, by_epoch=False)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100))
log_processor = dict(by_epoch=False)
