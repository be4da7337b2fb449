# Attention in the residual blocks of stages C3 to C5 (the second to the fourth), behind the 3x3
# convolution. `scaled` starts as the identity and so keeps what pretrained weights do; `residual`
# is what the authors of ELA do on pretrained ResNets.
ela_b_scaled_c3_c5 = [
    dict(
        cfg=dict(type='mmela.ELA', variant='B', residual='scaled'),
        position='after_conv2',
        stages=(False, True, True, True),
    )
]
ela_b_residual_c3_c5 = [
    dict(
        cfg=dict(type='mmela.ELA', variant='B', residual=True),
        position='after_conv2',
        stages=(False, True, True, True),
    )
]
ela_s_scaled_c3_c5 = [
    dict(
        cfg=dict(type='mmela.ELA', variant='S', residual='scaled'),
        position='after_conv2',
        stages=(False, True, True, True),
    )
]
ela_s_residual_c3_c5 = [
    dict(
        cfg=dict(type='mmela.ELA', variant='S', residual=True),
        position='after_conv2',
        stages=(False, True, True, True),
    )
]
