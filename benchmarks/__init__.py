"""Time and memory of attention layers, alone and in whole networks.

`shapes` lists the maps and `methods` the layers; `timing` and `memory` measure calls; `layers` uses
them for single layers and `model` for networks, with `inputs`; `machine` describes the device and
`report` writes the tables. `kernel_resources` compiles the Triton kernels without a GPU.
"""

from benchmarks import report
from benchmarks.layers import Settings, measure_case
from benchmarks.machine import Machine, describe, use_device
from benchmarks.model import measure_network

__all__ = [
    'Machine',
    'Settings',
    'describe',
    'measure_case',
    'measure_network',
    'report',
    'use_device',
]
