"""No code of a checkpoint runs, and what MMEngine, NumPy and torch store is read as it is."""

import builtins
import io
import os
import pickle
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleLR
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn
from toy_run import toy_config, toy_train

from mmela.engine import UserError, load_config
from mmela.engine.checkpoints.reading import checkpoints_as_data, load, read_checkpoint, read_meta
from mmela.engine.checks.weights import check_checkpoint, check_weights


class Touch:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return eval, (f'open({self.path!r}, "w").close() or {{}}',)


def text(word):
    return b'X' + len(word).to_bytes(4, 'little') + word.encode()


GETATTR = b'c__builtin__\ngetattr\n'
BUILTINS = GETATTR + b'(' + GETATTR + text('__self__') + b'tR'
#: builtins.__dict__['mmela_was_here'] = True
WRITE_BUILTINS = (
    b'\x80\x02' + GETATTR + b'(' + BUILTINS + text('__dict__') + b'tR' + text('mmela_was_here')
) + b'\x88s.'
HISTORY = b'cmmengine.logging.history_buffer\nHistoryBuffer\n'
REBUILD = b'ctorch._utils\n_rebuild_tensor_v2\n'


def state_of(target, name):
    """Sets an attribute of what the pickle fetched: BUILD with a state of two parts."""
    return b'\x80\x02' + target + b'N}' + text(name) + text('x') + b's\x86b.'


def program_of(path):
    """The pickle of a checkpoint, and everything in the file."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    return next(content for name, content in contents.items() if 'data.pkl' in name), contents


def write_program(path, program, saved=()):
    """A checkpoint whose pickle is a program written by hand, beside what was saved in truth."""
    torch.save(saved, path)
    _, contents = program_of(path)
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in contents.items():
            archive.writestr(name, program if name.endswith('data.pkl') else content)
    return str(path)


def refusal(path, match='--trust-checkpoint'):
    with pytest.raises(UserError, match=match) as error:
        read_checkpoint(str(path))
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'before torch 1.6'])
def test_code_does_not_run_and_all_objects_are_named(tmp_path, zipped):
    path = tmp_path / 'a.pth'
    contents = {'state_dict': Touch(tmp_path / 'owned'), 'a': Namespace(), 'model': nn.Linear(2, 2)}
    torch.save(contents, path, _use_new_zipfile_serialization=zipped)
    said = refusal(path)
    for name in ('builtins.eval', 'torch.nn.modules.linear.Linear', 'argparse.Namespace'):
        assert name in said
    assert str(path) in said and not (tmp_path / 'owned').exists()


def test_a_trusted_file_is_read_in_full(tmp_path):
    torch.save({'state_dict': Touch(tmp_path / 'owned')}, tmp_path / 'a.pth')
    assert read_checkpoint(str(tmp_path / 'a.pth'), trust=True) == {'state_dict': {}}
    assert (tmp_path / 'owned').exists()


def test_getattr_of_mmengines_allow_list_does_not_reach_builtins(tmp_path):
    path = write_program(tmp_path / 'a.pth', WRITE_BUILTINS)
    said = refusal(path)
    assert "getattr('__self__')" in said and not hasattr(builtins, 'mmela_was_here')


@pytest.mark.skipif(not hasattr(torch.serialization, 'safe_globals'), reason='torch < 2.5')
def test_getattr_of_mmengines_allow_list_reaches_builtins_without_us(tmp_path, monkeypatch):
    """The fault that the test above is about; it may go when MMEngine closes it."""
    monkeypatch.setattr(builtins, 'mmela_was_here', False, raising=False)
    path = write_program(tmp_path / 'a.pth', WRITE_BUILTINS)
    CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    assert builtins.mmela_was_here


@pytest.mark.parametrize(
    'program',
    [
        state_of(HISTORY, 'mean'),
        state_of(REBUILD, '__doc__'),
        state_of(b'ccollections\nOrderedDict\n', 'copy'),
        state_of(b'cnumpy\nndarray\n', 'copy'),
        state_of(b'ctorch\nfloat32\n', 'x'),
        state_of(b'cos\nsystem\n', '__doc__'),
        b'\x80\x02ctorch\nload\n' + text('/tmp/x') + b'\x85R.',
        b'\x80\x02cnumpy\ndtype\n' + text('O8') + b'\x85R.',
        b'\x80\x02c_codecs\nencode\n' + text('x') + text('rot13') + b'\x86R.',
    ],
    ids=['class', 'function', 'OrderedDict', 'ndarray', 'dtype', 'system', 'call', 'O8', 'codec'],
)
def test_a_pickle_can_change_and_call_nothing(tmp_path, program):
    before = [HistoryBuffer.mean, torch._utils._rebuild_tensor_v2.__doc__, OrderedDict.copy]
    refusal(write_program(tmp_path / 'a.pth', program), 'a.pth')
    after = [HistoryBuffer.mean, torch._utils._rebuild_tensor_v2.__doc__, OrderedDict.copy]
    assert after == before


def test_functions_that_a_history_brings_along_are_dropped(tmp_path):
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    torch.save({'a': history}, tmp_path / 'a.pth')
    program, _ = program_of(tmp_path / 'a.pth')
    swapped = program.replace(text('mean'), text('maxx'), 1)
    assert swapped != program
    loaded = read_checkpoint(write_program(tmp_path / 'b.pth', swapped))['a']
    assert loaded.mean() == 2 and 'maxx' not in HistoryBuffer._statistics_methods


def test_a_torchscript_archive_is_refused(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / 'a.pth')
    assert 'TorchScript' in refusal(tmp_path / 'a.pth')


def same(a, b):
    """Whether two objects agree in type, value and, of tensors, in dtype."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b) and vars(a) == vars(b) if hasattr(a, '__dict__') else True
        return all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, HistoryBuffer):
        return same(a.data, b.data) and a.max_length == b.max_length and a.mean() == b.mean()
    return a == b


PLAIN = {
    'numbers': [1, 2.5, 1j, True, None, 'text', b'bytes', b'', {1, 2}, frozenset({3}), slice(1, 2)],
    'containers': [(1, (2,)), Counter('aab'), OrderedDict(a=1), ConfigDict(a=dict(b=1))],
    'torch': [torch.float16, torch.Size([2, 3]), torch.device('cpu'), nn.Parameter(torch.ones(2))],
    'tensors': [
        torch.arange(6).reshape(2, 3).t(),
        torch.ones(3, dtype=torch.bfloat16),
        torch.tensor([True]),
        torch.tensor(2.0, dtype=torch.float64),
        torch.tensor([1 + 2j]),
    ],
    'numpy': [
        np.float64(0.5),
        np.int32(3),
        np.bool_(True),
        np.arange(6.0, dtype='>f4').reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(['a', 'bcd']),
        np.zeros((0, 4)),
        np.dtype('int8'),
    ],
    'mmengine': HistoryBuffer([1.0, 2.0], [1, 3], max_length=5),
}


@pytest.mark.parametrize('kind', PLAIN)
@pytest.mark.parametrize('protocol', [2, 4])
@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'old'])
def test_plain_data_is_what_torch_load_reads(tmp_path, kind, protocol, zipped):
    path, contents = tmp_path / 'a.pth', {'value': PLAIN[kind]}
    options = dict(pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    torch.save(contents, path, **options)
    assert same(read_checkpoint(str(path)), torch.load(path, weights_only=False))


@pytest.mark.skipif(not hasattr(torch, 'uint16'), reason='torch < 2.3')
def test_unsigned_tensors_are_read(tmp_path):
    torch.save({'a': torch.arange(3).to(torch.uint16)}, tmp_path / 'a.pth')
    assert same(read_checkpoint(str(tmp_path / 'a.pth')), torch.load(tmp_path / 'a.pth'))


def test_an_array_can_be_written_to(tmp_path):
    torch.save({'a': np.zeros(2)}, tmp_path / 'a.pth')
    read_checkpoint(str(tmp_path / 'a.pth'))['a'][0] = 1


def test_the_state_of_every_kind_of_run_is_read(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler = OneCycleLR(optimizer, eta_max=1, total_steps=10)
    contents = {
        'state_dict': model.state_dict(),
        'optimizer': optimizer.state_dict(),
        'param_schedulers': [scheduler.state_dict()],
    }
    torch.save(contents, tmp_path / 'a.pth')
    loaded = read_checkpoint(str(tmp_path / 'a.pth'))
    assert same(loaded, torch.load(tmp_path / 'a.pth', weights_only=False))
    scheduler.load_state_dict(loaded['param_schedulers'][0])
    optimizer.load_state_dict(loaded['optimizer'])
    pickle.dumps(scheduler.state_dict())  # and can be saved again


def test_a_checkpoint_of_a_run_is_what_torch_load_reads(tmp_path):
    toy_train(toy_config(tmp_path, custom_hooks=[dict(type='EMAHook')]))
    path = str(tmp_path / 'epoch_3.pth')
    loaded = read_checkpoint(path)
    assert same(loaded, torch.load(path, weights_only=False))
    assert loaded['message_hub']['log_scalars']['train/loss'].data[0].shape == (12,)
    assert read_meta(path)['meta'] == loaded['meta']


@pytest.mark.parametrize('way', ['load_from', 'resume', 'init_cfg'])
def test_no_way_into_a_run_executes_a_file(tmp_path, way):
    path = str(tmp_path / 'a.pth')
    torch.save({'state_dict': Touch(tmp_path / 'owned')}, path)
    options = {
        'load_from': {'load_from': path},
        'resume': {'load_from': path, 'resume': True},
        'init_cfg': {'model.init_cfg': dict(type='Pretrained', checkpoint=path)},
    }[way]
    with pytest.raises(UserError, match='--trust-checkpoint'):
        toy_train(toy_config(tmp_path / 'run', **options))
    assert not (tmp_path / 'owned').exists()
    with pytest.raises(UserError, match='trust_checkpoint=True'):
        check_weights(toy_config(tmp_path / 'run', **options), ('train',))
    assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize('address', ['https://a.org/a.pth', 'torchvision://x', 'open-mmlab://x'])
def test_downloads_of_any_scheme_are_read_as_data(tmp_path, monkeypatch, address):
    """In the cache, as after a download; and names of models lead to an address."""
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    module = 'mmengine.runner.checkpoint.'
    for name in ('get_torchvision_models', 'get_external_models'):
        monkeypatch.setattr(module + name, lambda: {'x': 'https://a.org/a.pth'})
    torch.save({'state_dict': Touch(tmp_path / 'owned')}, cache / 'a.pth')
    with checkpoints_as_data(), pytest.raises(UserError, match='builtins.eval'):
        _load_checkpoint(address, map_location='cpu')
    assert not (tmp_path / 'owned').exists()
    torch.save({'state_dict': {'a': torch.ones(1)}}, cache / 'a.pth')
    with checkpoints_as_data():
        assert _load_checkpoint(address, map_location='cpu')['state_dict']['a'] == 1


def test_mmengine_and_torch_are_as_before_after_a_run():
    before = torch.load, CheckpointLoader.load_checkpoint
    with checkpoints_as_data():
        assert CheckpointLoader.load_checkpoint != before[1]
    assert (torch.load, CheckpointLoader.load_checkpoint) == before


@pytest.mark.parametrize(
    'gpu_ids, count', [('range(0, 2)', 2), ('[0, 1, 5]', 3), ('print()', None)]
)
def test_resuming_does_not_execute_the_config_of_the_file(tmp_path, gpu_ids, count):
    toy_train(toy_config(tmp_path))
    checkpoint = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)
    owned = tmp_path / 'owned'
    checkpoint['meta']['config'] = f'open({str(owned)!r}, "w").close()\ngpu_ids = {gpu_ids}\n'
    del checkpoint['meta']['mmela']
    torch.save(checkpoint, tmp_path / 'a.pth')
    options = {'resume': True, 'load_from': str(tmp_path / 'a.pth'), 'train_cfg.max_epochs': 4}
    if count:  # the one thing that MMEngine looks for in it
        with pytest.raises(UserError, match=f'{count} x 4 images.* has 1 x 4'):
            toy_train(toy_config(tmp_path, **options))
    else:
        toy_train(toy_config(tmp_path, **options))
    assert not owned.exists()


def test_the_tool_takes_a_trusted_file(tool, tmp_path, tiny_seg, shapes_root):
    """tools/test.py refuses a file with objects before it builds anything, and names the flag."""
    torch.save({'state_dict': {}, 'by': Namespace(a=1)}, tmp_path / 'a.pth')
    arguments = (tiny_seg, tmp_path / 'a.pth', '--work-dir', tmp_path / 'w', '--cfg-options')
    status, err = tool('test.py', *arguments, f'data_root={shapes_root}/')
    assert status == 2 and 'argparse.Namespace' in err and '--trust-checkpoint' in err
    cfg = load_config(tiny_seg, ['trust_checkpoint=True'])
    cfg.load_from = str(tmp_path / 'a.pth')
    check_weights(cfg, ('test',))


def test_a_tensor_cannot_be_larger_than_its_data(tmp_path):
    saved = {'a': torch.ones(100)}
    torch.save(saved, tmp_path / 'a.pth')
    program, _ = program_of(tmp_path / 'a.pth')
    larger = program.replace(b'Kd\x85', b'M\xe8\x03\x85')  # 1,000
    assert larger != program
    refusal(write_program(tmp_path / 'b.pth', larger, saved), 'larger than its data')


def test_a_user_who_forces_weights_only_can_read_as_well(tmp_path, monkeypatch):
    torch.save({'a': np.float64(1)}, tmp_path / 'a.pth')
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    assert read_checkpoint(str(tmp_path / 'a.pth')) == {'a': 1}
    assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'


def test_a_file_in_memory_is_read_as_well():
    file = io.BytesIO()
    torch.save({'a': 1}, file)
    file.seek(0)
    assert load(file, 'cpu') == {'a': 1}


def test_zeroed_bytes_are_found_by_the_checksums(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'a': torch.ones(100_000)}}, path)
    content = bytearray(path.read_bytes())
    content[200_000:200_200] = bytes(200)
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # says nothing
    with pytest.raises(UserError, match=r'a\.pth is damaged: the checksum of its record'):
        check_checkpoint(str(path))


@pytest.mark.skipif(not hasattr(torch.serialization, 'set_crc32_options'), reason='torch < 2.5')
def test_a_file_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({'a': torch.ones(2)}, tmp_path / 'a.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(str(tmp_path / 'a.pth'))['a'].sum() == 2
