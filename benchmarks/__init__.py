"""What an attention costs in time and memory: alone, and in a whole network.

Floor by floor: `machine` names the device, `timing` and `memory` measure calls, `shapes` says on
which maps and `methods` which layers, `layers` puts them together for single layers and `model` for
networks, `targets` sets the figures beside what the project asks of itself, `report` writes them.
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
