"""YOLOX in plain PyTorch under Megvii's names, to hold converted checkpoints against.

Written from the report (Ge et al., arXiv 2107.08430), the layouts of its sizes and ELA's paper
(arXiv 2403.01123); it shares no code with the toolboxes or with mmela.
"""

import torch
import torch.nn.functional as F
from torch import nn

#: Blocks in a CSP layer of the neck, channels of the stem, separable 3x3 convolutions.
SIZES = {
    'nano': (1, 16, True),
    'tiny': (1, 24, False),
    's': (1, 32, False),
    'm': (2, 48, False),
    'l': (3, 64, False),
    'x': (4, 80, False),
}


class Conv(nn.Module):
    def __init__(self, c_in, c_out, k=1, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)))


class SeparableConv(nn.Module):
    def __init__(self, c_in, c_out, k, stride=1):
        super().__init__()
        self.dconv = Conv(c_in, c_in, k, stride, groups=c_in)
        self.pconv = Conv(c_in, c_out)

    def forward(self, x):
        return self.pconv(self.dconv(x))


class Focus(nn.Module):
    """Each 2x2 patch becomes four pixels in depth: left column first, top before bottom."""

    def __init__(self, c_out):
        super().__init__()
        self.conv = Conv(12, c_out, 3)

    def forward(self, x):
        patches = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(patches, 1))


class Block(nn.Module):
    def __init__(self, c, conv3x3, shortcut):
        super().__init__()
        self.conv1, self.conv2, self.shortcut = Conv(c, c), conv3x3(c, c, 3), shortcut

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CSP(nn.Module):
    def __init__(self, c_in, c_out, blocks, conv3x3, shortcut):
        super().__init__()
        half = c_out // 2
        self.conv1, self.conv2, self.conv3 = Conv(c_in, half), Conv(c_in, half), Conv(c_out, c_out)
        self.m = nn.Sequential(*[Block(half, conv3x3, shortcut) for _ in range(blocks)])

    def forward(self, x):
        return self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], 1))


class SPP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.conv2 = Conv(c, c // 2), Conv(2 * c, c)

    def forward(self, x):
        x = self.conv1(x)
        pooled = [F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13)]
        return self.conv2(torch.cat([x, *pooled], 1))


class Darknet(nn.Module):
    def __init__(self, depth, c, conv3x3):
        super().__init__()
        self.stem = Focus(c)

        def stage(c, blocks, *between, shortcut=True):
            csp = CSP(2 * c, 2 * c, blocks, conv3x3, shortcut)
            return nn.Sequential(conv3x3(c, 2 * c, 3, 2), *between, csp)

        self.dark2 = stage(c, depth)
        self.dark3 = stage(2 * c, 3 * depth)
        self.dark4 = stage(4 * c, 3 * depth)
        self.dark5 = stage(8 * c, depth, SPP(16 * c), shortcut=False)

    def forward(self, x):
        c3 = self.dark3(self.dark2(self.stem(x)))
        c4 = self.dark4(c3)
        return c3, c4, self.dark5(c4)


class ELAT(nn.Module):
    """ELA-T: a depthwise convolution of length 5 and a GroupNorm of 32 groups for both axes."""

    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv1d(c, c, 5, padding=2, groups=c, bias=False)
        self.gn = nn.GroupNorm(32, c)

    def forward(self, x):
        along_h = torch.sigmoid(self.gn(self.conv(x.mean(3))))[:, :, :, None]
        along_w = torch.sigmoid(self.gn(self.conv(x.mean(2))))[:, :, None, :]
        return x * along_h * along_w


class Neck(nn.Module):
    """Backbone and PAFPN; with `attention`, ELA-T where the authors have it in YOLOX-Nano."""

    def __init__(self, depth, c, conv3x3, attention):
        super().__init__()

        def csp(c_in, c_out):
            return CSP(c_in, c_out, depth, conv3x3, shortcut=False)

        c3, c4, c5 = 4 * c, 8 * c, 16 * c
        self.backbone = Darknet(depth, c, conv3x3)
        self.lateral_conv0, self.C3_p4 = Conv(c5, c4), csp(2 * c4, c4)
        self.reduce_conv1, self.C3_p3 = Conv(c4, c3), csp(2 * c3, c3)
        self.bu_conv2, self.C3_n3 = conv3x3(c3, c3, 3, 2), csp(2 * c3, c4)
        self.bu_conv1, self.C3_n4 = conv3x3(c4, c4, 3, 2), csp(2 * c4, c5)
        self.by_width = {}
        if attention:
            self.feat10, self.feat5 = ELAT(1024), ELAT(512)  # built and never run, as theirs
            self.feat1, self.feat2, self.feat06 = ELAT(128), ELAT(256), ELAT(64)
            self.by_width = {64: 'feat06', 128: 'feat1', 256: 'feat2'}

    def attend(self, x):
        return getattr(self, self.by_width[x.size(1)])(x) if self.by_width else x

    def join(self, *maps):
        return self.attend(torch.cat(maps, 1))

    def forward(self, x):
        c3, c4, c5 = map(self.attend, self.backbone(x))
        p5 = self.lateral_conv0(c5)
        p4 = self.reduce_conv1(self.C3_p4(self.join(F.interpolate(p5, scale_factor=2), c4)))
        n3 = self.C3_p3(self.join(F.interpolate(p4, scale_factor=2), c3))
        n4 = self.C3_n3(self.join(self.bu_conv2(n3), p4))
        return n3, n4, self.C3_n4(self.join(self.bu_conv1(n4), p5))


class Head(nn.Module):
    def __init__(self, num_classes, c, conv3x3):
        super().__init__()
        width = 4 * c

        def per_level(make):
            return nn.ModuleList([make() for _ in range(3)])

        def convs():
            return nn.Sequential(conv3x3(width, width, 3), conv3x3(width, width, 3))

        self.cls_convs, self.reg_convs = per_level(convs), per_level(convs)
        self.cls_preds = per_level(lambda: nn.Conv2d(width, num_classes, 1))
        self.reg_preds = per_level(lambda: nn.Conv2d(width, 4, 1))
        self.obj_preds = per_level(lambda: nn.Conv2d(width, 1, 1))
        self.stems = nn.ModuleList([Conv(4 * c * 2**level, width) for level in range(3)])

    def forward(self, maps):
        outs = []
        for i, x in enumerate(maps):
            x = self.stems[i](x)
            reg = self.reg_convs[i](x)
            cls = self.cls_preds[i](self.cls_convs[i](x))
            outs.append((cls, self.reg_preds[i](reg), self.obj_preds[i](reg)))
        return outs


class PlainYOLOX(nn.Module):
    """Returns (classes, boxes, objectness) of each of the three levels."""

    def __init__(self, size='nano', num_classes=20, attention=False):
        super().__init__()
        depth, c, separable = SIZES[size]
        conv3x3 = SeparableConv if separable else Conv
        self.backbone = Neck(depth, c, conv3x3, attention)
        self.head = Head(num_classes, c, conv3x3)

    def forward(self, x):
        return self.head(self.backbone(x))


@torch.no_grad()
def randomise(network, seed=0):
    """Random values under which every layer still shows in the outputs; returns the network.

    Statistics that do not suit the maps let a deep network forget its input, and layers could be
    exchanged unnoticed; so they are taken from a batch of noise. A bias around one keeps SiLU
    nearly linear and the variance is widened a little, so that rounding is not blown up either.
    """
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(float(isinstance(module, nn.BatchNorm2d)), 0.3)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(torch.randn(4, 3, 96, 96))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.mul_(1.2)
            module.num_batches_tracked.random_(1, 1000)
    return network.eval()


@torch.no_grad()
def largest_difference(plain, model, x):
    """Between the maps of this network and of a detector of MMDetection, all nine."""
    worst, largest = 0.0, 0.0
    for expected, found in zip(plain(x), zip(*model._forward(x), strict=True), strict=True):
        for theirs, ours in zip(expected, found, strict=True):
            worst = max(worst, (theirs - ours).abs().max().item())
            largest = max(largest, theirs.abs().max().item())
    print(f'head outputs up to {largest:.1f}, difference at most {worst:.1e}')
    assert 0.1 < largest < 100, 'neither dead nor blown up, or the difference says nothing'
    return worst
