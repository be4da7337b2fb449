_base_ = 'mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py'

# The authors' places: C5, the projected map, and one layer around each of the first three blocks.
model = dict(
    neck=dict(
        type='mmela.DilatedEncoder',
        plugins=[
            dict(
                cfg=dict(type='mmela.ELA', variant='T', residual=True),
                position=('inputs', 'after_projector'),
            ),
            dict(
                cfg=dict(type='mmela.ELA', variant='T', residual=True),
                position='around_block',
                stages=(True, True, True, False),
            ),
        ],
    )
)
