_base_ = 'mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py'

model = dict(
    backbone=dict(
        type='mmela.CSPNeXt',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='B', residual=True),
                position='after_stage',
                stages=(False, True, True, True),
            )
        ],
    )
)
