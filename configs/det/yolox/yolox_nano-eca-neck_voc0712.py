_base_ = './yolox_nano_voc0712.py'

# The authors' places: the three inputs and the four concatenations of the neck share one layer
# per width.
model = dict(
    neck=dict(
        type='mmela.YOLOXPAFPN',
        plugins=[
            dict(
                cfg=dict(type='mmela.ECA'),
                position=('inputs', 'after_concat'),
                share=True,
            )
        ],
    )
)
