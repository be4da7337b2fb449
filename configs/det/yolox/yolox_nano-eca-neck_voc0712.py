_base_ = './yolox_nano_voc0712.py'

# The authors' places: the neck's three inputs and its four concatenations, one layer a width.
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
