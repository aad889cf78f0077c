"""Train small models: exact, started, interrupted, refused."""
from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp import distill as program
from mpiapp.distillation import frames, training
from mpiapp.errors import InputError, StoreError
from tests.distillation import small

#: rounding of float64 sums in another order, relative to the largest entry
EXACT = 1e-10


def asked(folder: Path, data: Path, **more: Any) -> training.TrainSettings:
    values: dict[str, Any] = {
        'data': (str(data),), 'valid': (), 'recipe': '', 'start': '',
        'folder': folder / 'run', 'name': 'tiny', 'elements': (),
        'valid_share': 0.3, 'seed': 0, 'max_epochs': 2, 'device': 'cpu',
        'max_atoms': None, 'fast': True, **more}
    if not values['recipe']:
        values['recipe'] = str(small.recipe(folder))
    return training.TrainSettings(**values)


def run(
    settings: training.TrainSettings, resume: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[bool, list[str]]:
    told: list[str] = []
    prepared = training.prepare(settings)
    with training.begun(settings, prepared, resume, False):
        done = training.run(settings, prepared, stopping, told.append)
    return done, told


def about(settings: training.TrainSettings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (settings.folder / 'tiny.json').read_text())
    return found


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('data') / 'train.xyz'
    frames.write_xyz(path, small.frames(16))
    return path


@pytest.fixture(scope='module')
def trained(
    data: Path, tmp_path_factory: pytest.TempPathFactory,
) -> training.TrainSettings:
    settings = asked(tmp_path_factory.mktemp('trained'), data)
    assert run(settings)[0]
    return settings


def gradients(
    model: Any, made: list[frames.Frame],
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield energies, forces and parameter gradients of a batch."""
    import torch
    from mace import data as mace_data
    from mace import tools
    from mace.tools import torch_geometric
    torch.set_default_dtype(torch.float64)
    table = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    batch = next(iter(torch_geometric.dataloader.DataLoader([
        mace_data.AtomicData.from_config(
            mace_data.Configuration(
                f.numbers, f.positions,
                properties={'energy': f.energy, 'forces': f.forces},
                property_weights={'energy': 1.0, 'forces': 1.0}),
            z_table=table, cutoff=float(model.r_max), heads=['Default'])
        for f in made], batch_size=len(made)))).to_dict()
    model.zero_grad()
    out = model(batch, training=True, compute_force=True)
    loss = (out['energy'] ** 2).sum() * 1e-4 + (out['forces'] ** 2).sum()
    loss.backward()
    yield 'energy', out['energy'].detach().numpy()
    yield 'forces', out['forces'].detach().numpy()
    for name, p in model.named_parameters():
        if p.grad is not None:
            yield name, p.grad.numpy().copy()


@pytest.mark.parametrize('hidden', ['4x0e', '2x0e+2x1o'])
@pytest.mark.parametrize('piece', [64, 3])
def test_the_faster_way_has_the_same_gradients(
    hidden: str, piece: int, monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from mpiapp.potentials.mace import training as faster
    from mpiapp.potentials.mace.importing import import_mace
    import_mace()
    from e3nn import o3
    from mace import modules
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        block = modules.interaction_classes[
            'RealAgnosticResidualInteractionBlock']
        model = modules.ScaleShiftMACE(
            atomic_inter_scale=1.3, atomic_inter_shift=0.1, r_max=3.0,
            num_bessel=4, num_polynomial_cutoff=5, max_ell=2,
            interaction_cls=block, interaction_cls_first=block,
            num_interactions=2, num_elements=4,
            hidden_irreps=o3.Irreps(hidden), MLP_irreps=o3.Irreps('4x0e'),
            atomic_energies=np.zeros((1, 4)), avg_num_neighbors=3.0,
            atomic_numbers=[1, 6, 7, 8], correlation=3,
            gate=torch.nn.functional.silu, radial_MLP=[8])
        # atoms with 2 to 5 neighbours, and one without
        lone = frames.Frame(np.array([8], np.int32), np.zeros((1, 3)), -1.0,
                            np.zeros((1, 3)), 'oxygen', 'atom')
        made = [*small.frames(4), lone]
        plain = dict(gradients(model, made))
        monkeypatch.setattr(faster, 'PIECE', piece)
        with faster.faster_training():
            fast = dict(gradients(model, made))
        again = dict(gradients(model, made))
    finally:
        torch.set_default_dtype(before)
    assert set(plain) == set(fast) and len(plain) > 20
    for name, values in plain.items():
        limit = EXACT * max(np.abs(values).max(), 1e-3)
        np.testing.assert_allclose(fast[name], values, 0, limit, name)
        np.testing.assert_allclose(again[name], values, 0, limit, name)


def test_a_training_writes_a_model_that_evaluates(
    trained: training.TrainSettings,
) -> None:
    from mpiapp.potentials import PotentialOptions, build
    from mpiapp.records import Batch
    found = about(trained)
    assert [p['epoch'] for p in found['curve']] == [0, 1]
    model = trained.folder / 'tiny.model'
    assert found['bytes'] == model.stat().st_size
    potential = build(PotentialOptions(model_path=str(model),
                                       backend='poly', device='cpu'))
    f = small.frames(1)[0]
    e = potential.evaluate(Batch.join([(f.numbers, f.positions, 0, 0)]))
    assert np.isfinite(e.energies[0]) and not e.failures


def test_plain_and_faster_training_agree(
    data: Path, trained: training.TrainSettings, tmp_path: Path,
) -> None:
    plain = asked(tmp_path, data, fast=False)
    run(plain)
    for a, b in zip(about(plain)['curve'], about(trained)['curve'],
                    strict=True):
        assert a['mae_f'] == pytest.approx(b['mae_f'], rel=1e-6)


@pytest.mark.parametrize('threads', [2, 5])
def test_steps_on_several_threads_are_the_same(
    data: Path, trained: training.TrainSettings, tmp_path: Path,
    threads: int,
) -> None:
    # batches of 4 structures, the last one smaller: more threads than those
    several = asked(tmp_path, data, threads=threads)
    run(several)
    for a, b in zip(about(several)['curve'], about(trained)['curve'],
                    strict=True):
        assert a['mae_f'] == pytest.approx(b['mae_f'], rel=1e-6)
        assert a['loss'] == pytest.approx(b['loss'], rel=1e-6)


def test_the_parts_of_a_batch_are_all_of_it() -> None:
    import torch

    from mpiapp.distillation.parallel_step import parts_of
    from mpiapp.potentials.mace.importing import import_mace
    import_mace()
    # three chains of 3, 1 and 4 atoms
    sizes = torch.tensor([3, 1, 4])
    ptr = torch.tensor([0, 3, 4, 8])
    senders = torch.tensor([0, 1, 1, 2, 4, 5, 6, 5, 6, 7])
    receivers = torch.tensor([1, 0, 2, 1, 5, 4, 5, 6, 7, 6])
    batch = {
        'positions': torch.arange(24.0).view(8, 3), 'ptr': ptr,
        'node_attrs': torch.eye(8), 'head': torch.tensor([5, 6, 7]),
        'batch': torch.repeat_interleave(torch.arange(3), sizes),
        'edge_index': torch.stack([senders, receivers]),
        'shifts': torch.arange(30.0).view(10, 3),
        'unit_shifts': torch.zeros(10, 3),
        'cell': torch.arange(27.0).view(9, 3)}
    parts = parts_of(batch, 2)
    assert [p.structures.tolist() for p in parts] == [[2], [0, 1]]
    assert sorted(i for p in parts for i in p.atoms.tolist()) == list(range(8))
    second = parts[1].data
    assert second['ptr'].tolist() == [0, 3, 4]
    assert second['batch'].tolist() == [0, 0, 0, 1]
    assert second['edge_index'].tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    first = parts[0].data
    assert first['edge_index'].tolist() == [[0, 1, 2, 1, 2, 3],
                                            [1, 0, 1, 2, 3, 2]]
    assert torch.equal(first['positions'], batch['positions'][4:])
    assert torch.equal(first['cell'], batch['cell'][6:])
    assert torch.equal(first['shifts'], batch['shifts'][4:])
    assert first['head'].tolist() == [7]


def test_an_interrupted_training_goes_on(data: Path, tmp_path: Path) -> None:
    settings = asked(tmp_path, data, max_epochs=3)
    calls: list[int] = []

    def soon() -> bool:
        calls.append(1)
        return len(calls) > 4  # in the second epoch

    done, _ = run(settings, stopping=soon)
    assert not done and list((settings.folder / 'checkpoints').iterdir())
    done, told = run(settings, resume=True)
    assert done and 'weights after epoch' in told[-2]
    assert [p['epoch'] for p in about(settings)['curve']] == [0, 1, 2]


def weights(settings: training.TrainSettings) -> dict[str, Any]:
    import torch

    from mpiapp.potentials.mace.importing import import_mace
    import_mace()
    found: dict[str, Any] = torch.load(
        settings.folder / 'tiny.model', weights_only=False).state_dict()
    return found


def copied(
    trained: training.TrainSettings, folder: Path, **more: Any,
) -> training.TrainSettings:
    """Return a copy of the training of two epochs, to go on with."""
    shutil.copytree(trained.folder, folder / 'run')
    return replace(trained, folder=folder / 'run', **more)


def test_a_stop_leaves_the_best_model_as_it_was_validated(
    trained: training.TrainSettings, tmp_path: Path,
) -> None:
    import torch
    settings = copied(trained, tmp_path, max_epochs=3)
    before, steps = weights(settings), []

    def soon() -> bool:
        steps.append(1)
        return len(steps) > 2  # within the next epoch

    for _ in range(2):
        steps.clear()
        assert not run(settings, resume=True, stopping=soon)[0]
    assert about(settings)['validation'] == about(trained)['validation']
    for name, values in weights(settings).items():
        assert torch.equal(values, before[name]), name


def test_an_epoch_that_is_done_is_not_repeated(
    trained: training.TrainSettings, tmp_path: Path,
) -> None:
    settings = copied(trained, tmp_path)
    done, told = run(settings, resume=True)
    assert done and not any('steps' in line for line in told)
    assert about(settings)['curve'] == about(trained)['curve']


@pytest.mark.parametrize('size', [0, 3000])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    trained: training.TrainSettings, tmp_path: Path, size: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = copied(trained, tmp_path)
    last = settings.folder / 'checkpoints' / 'tiny_run-0_epoch-1.pt'
    last.write_bytes(last.read_bytes()[:size])
    with caplog.at_level('WARNING', 'mpiapp'):
        done, told = run(settings, resume=True)
    assert done and 'steps' in told[0]
    assert f'{last} is damaged' in caplog.text
    assert last.stat().st_size > 3000
    assert [p['epoch'] for p in about(settings)['curve']] == [0, 1]


def test_a_damaged_best_gives_way_to_the_best_that_is_left(
    trained: training.TrainSettings, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = copied(trained, tmp_path)
    best = settings.folder / 'checkpoints' / 'tiny_run-0_best.pt'
    best.write_bytes(best.read_bytes()[:3000])
    with caplog.at_level('WARNING', 'mpiapp'):
        assert run(settings, resume=True)[0]
    assert f'{best} is damaged' in caplog.text
    assert about(settings)['validation'] == about(trained)['validation']


def test_a_torn_line_of_the_learning_curve_is_passed_over(
    trained: training.TrainSettings, tmp_path: Path,
) -> None:
    settings = copied(trained, tmp_path, max_epochs=3)
    path = settings.folder / 'results' / 'tiny_run-0_train.txt'
    with open(path, 'a') as file:
        file.write('{"loss": 0.1, "mo\n')
    assert run(settings, resume=True)[0]
    assert [p['epoch'] for p in about(settings)['curve']] == [0, 1, 2]


def test_a_start_is_the_best_until_an_epoch_is_better(
    data: Path, trained: training.TrainSettings, tmp_path: Path,
) -> None:
    settings = asked(
        tmp_path, data, start=str(trained.folder / 'tiny.model'),
        recipe=str(small.recipe(tmp_path, lr=3.0, ema=False)))
    _, told = run(settings)
    found = about(settings)
    assert [p['epoch'] for p in found['curve']] == [-1, 0, 1]
    assert found['epoch'] == -1
    assert found['validation']['mae_f'] == pytest.approx(
        about(trained)['validation']['mae_f'], rel=1e-6)
    assert 'the start, better than 2 epochs' in told[-2]
    before = weights(trained)
    for name, values in weights(settings).items():
        assert (values == before[name].reshape(values.shape)).all(), name
    # unless the last is asked for, which is at hand as well
    run(replace(settings, choose='last'), resume=True)
    assert about(settings)['validation'] == found['curve'][-1]
    assert any((values != before[name].reshape(values.shape)).any()
               for name, values in weights(settings).items())


@pytest.mark.parametrize('text', ['', '{"seed": ', '[]'])
def test_damaged_settings_are_told(
    trained: training.TrainSettings, tmp_path: Path, text: str,
) -> None:
    settings = copied(trained, tmp_path)
    (settings.folder / 'settings.json').write_text(text)
    with pytest.raises(InputError, match='settings.json is damaged'):
        training.check_folder(settings, training.prepare(settings), True,
                              False)


def test_a_training_that_diverges_writes_no_model(
    data: Path, tmp_path: Path,
) -> None:
    settings = asked(tmp_path, data, max_epochs=1,
                     recipe=str(small.recipe(tmp_path, lr=1e300)))
    with pytest.raises(InputError, match='finite validation loss'):
        run(settings)
    assert not (settings.folder / 'tiny.model').exists()


def test_stopped_before_the_first_epoch_writes_no_model(
    data: Path, tmp_path: Path,
) -> None:
    settings = asked(tmp_path, data)
    done, told = run(settings, stopping=lambda: True)
    assert not done and 'no model is written' in told[-1]
    assert not (settings.folder / 'tiny.model').exists()


def test_a_training_is_not_mixed_with_another(
    data: Path, trained: training.TrainSettings, tmp_path: Path,
) -> None:
    prepared = training.prepare(trained)
    with pytest.raises(InputError, match='--resume to continue'):
        training.check_folder(trained, prepared, False, False)
    other = replace(trained, recipe=str(small.recipe(tmp_path, lr=0.01)))
    with pytest.raises(InputError, match='lr: was 0.005, now 0.01'):
        training.check_folder(other, training.prepare(other), True, False)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize('more, fault', [
    (['--data', 'DATA'], 'student.model exist'),
    (['--data', 'DATA', '--resume'], 'student.model exist'),
    (['--overwrite'], 'train.xyz, which is read'),
    (['--overwrite', '--name', 'a/b'], '--name a/b'),
    (['--overwrite', '--name', 'settings'], '--name settings'),
    (['--output-dir', 'FOLDER/train.xyz/x'], 'is not a folder'),
    (['--output-dir', 'FOLDER/new', '--device', 'cuda'], 'no CUDA device')])
def test_files_that_are_not_of_a_training_are_left_alone(
    data: Path, tmp_path: Path, more: list[str], fault: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    (tmp_path / 'train.xyz').write_bytes(data.read_bytes())
    (tmp_path / 'student.model').write_text('mine')
    words = ['train', '--data', str(tmp_path / 'train.xyz'), '--recipe',
             str(small.recipe(tmp_path)), '--valid-share', '0.3',
             '--output-dir', str(tmp_path),
             *(w.replace('FOLDER', str(tmp_path)).replace(
                 'DATA', str(data)) for w in more)]
    before = snapshot(tmp_path)
    assert program.main(words) == 2
    assert fault in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('more, code', [([], 2), (['--overwrite'], 0)])
def test_folders_of_others_are_left_alone(
    data: Path, tmp_path: Path, more: list[str], code: int,
) -> None:
    folder = tmp_path / 'mine'
    for name in ('settings.json', 'results/thesis.txt', 'logs/l.txt'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"theme": 1}')
    before = files_below(folder)
    assert program.main([
        'train', '--data', str(data), '--recipe',
        str(small.recipe(tmp_path)), '--valid-share', '0.3', '--max-epochs',
        '1', '--output-dir', str(folder), *more]) == code
    after = files_below(folder)
    if more:
        before.pop('settings.json')  # replaced, as asked for
    assert {name: after[name] for name in before} == before


def test_two_trainings_are_not_mixed_in_one_folder(
    trained: training.TrainSettings, tmp_path: Path,
) -> None:
    settings = copied(trained, tmp_path)
    prepared = training.prepare(settings)
    with training.begun(settings, prepared, True, False):
        with pytest.raises(InputError, match='another job works on'):
            run(settings, resume=True)
    with training.begun(settings, prepared, True, False):
        assert (settings.folder / 'tiny.model').exists()


def test_overwriting_leaves_nothing_of_the_earlier_training(
    trained: training.TrainSettings, tmp_path: Path,
) -> None:
    settings = copied(trained, tmp_path, seed=1)
    with training.begun(settings, training.prepare(settings), False, True):
        assert {p.name for p in settings.folder.iterdir()} == {
            'train.xyz', 'valid.xyz', 'settings.json', 'mace.log', 'lock'}


def test_a_full_disk_is_told_and_the_model_is_as_it_was(
    trained: training.TrainSettings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = copied(trained, tmp_path, max_epochs=3)
    before = (settings.folder / 'tiny.model').read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, 'full')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(StoreError, match='the disk is full'):
        run(settings, resume=True)
    assert (settings.folder / 'tiny.model').read_bytes() == before


def test_errors_of_storing_end_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    def full(words: Any) -> int:
        raise StoreError('cannot write x: the disk is full')

    monkeypatch.setitem(program.ACTIONS, 'train', full)
    assert program.main(['train']) == 1
    assert capsys.readouterr().err == \
        'error: cannot write x: the disk is full\n'


def test_the_same_basis_starts_at_the_same_function(
    data: Path, trained: training.TrainSettings, tmp_path: Path,
) -> None:
    import torch

    from mpiapp.distillation import checkpoints, trainer
    start = trained.folder / 'tiny.model'
    settings = asked(tmp_path, data, start=str(start), max_epochs=1)
    prepared = training.prepare(settings)
    job = checkpoints.Job(settings.folder, 'tiny', prepared.options,
                          start=start, max_epochs=1)
    with training.begun(settings, prepared, False, False):
        progress = trainer.train(job, lambda: True)
    old = torch.load(start, weights_only=False).state_dict()
    for name, values in progress.model.state_dict().items():
        assert torch.equal(values, old[name].reshape(values.shape)), name


@pytest.mark.parametrize('changes, most', [
    ({'r_max': 3.5, 'num_radial_basis': 6}, 0.05)])
def test_a_longer_reach_starts_near_the_same_function(
    data: Path, trained: training.TrainSettings, tmp_path: Path,
    changes: dict[str, Any], most: float,
) -> None:
    from mpiapp.distillation import checkpoints, trainer
    settings = asked(
        tmp_path, data, start=str(trained.folder / 'tiny.model'),
        recipe=str(small.recipe(tmp_path, **changes)), max_epochs=1)
    prepared = training.prepare(settings)
    job = checkpoints.Job(settings.folder, 'tiny', prepared.options,
                          start=Path(settings.start), max_epochs=1)
    with training.begun(settings, prepared, False, False):
        progress = trainer.train(job, lambda: True)
    assert 0 < progress.misfit < most


@pytest.mark.parametrize('changes', [
    {'hidden_irreps': '7x0e'},
    {'hidden_irreps': '6x0e', 'radial_MLP': '[12]', 'MLP_irreps': '5x0e'}])
def test_a_wider_model_starts_at_the_same_function(
    data: Path, trained: training.TrainSettings, tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    import torch

    from mpiapp.distillation import checkpoints, trainer
    start = trained.folder / 'tiny.model'
    settings = asked(
        tmp_path, data, start=str(start), max_epochs=1,
        recipe=str(small.recipe(tmp_path, **changes)))
    prepared = training.prepare(settings)
    job = checkpoints.Job(settings.folder, 'tiny', prepared.options,
                          start=start, max_epochs=1)
    with training.begun(settings, prepared, False, False):
        progress = trainer.train(job, lambda: True)
    assert progress.misfit == 0
    made = frames.read(str(data))[:4]
    old = torch.load(start, weights_only=False)
    before = torch.get_default_dtype()
    try:
        (_, e), (_, f), *slopes = gradients(progress.model.double(), made)
        (_, e_old), (_, f_old), *_ = gradients(old.double(), made)
    finally:
        torch.set_default_dtype(before)
    assert sum(p.numel() for p in progress.model.parameters()) > sum(
        p.numel() for p in old.parameters())
    assert e == pytest.approx(e_old, rel=EXACT)
    assert np.abs(f - f_old).max() < EXACT * np.abs(f_old).max()
    # the new channels can be learned
    readout = dict(slopes)['readouts.0.linear.weight']
    assert (np.abs(readout[4:]) > 0).all()


@pytest.mark.parametrize('changes, fault', [
    ({'hidden_irreps': '3x0e'}, 'or its channels be more'),
    ({'model': 'MACE'}, 'differ in the'),
    ({'interaction_first': 'RealAgnosticInteractionBlock'}, 'interactions'),
    ({'gate': 'tanh'}, 'differ in more than their sizes'),
    ({'max_ell': 2}, 'spherical harmonics'),
    ({'hidden_irreps': '6x0e', 'max_ell': 2}, 'spherical harmonics'),
    ({'hidden_irreps': '6x0e + 6x1o'}, 'kinds of channels'),
    ({'radial_type': 'gaussian'}, 'radial basis'),
    ({'distance_transform': 'Agnesi'}, 'transform of distances'),
    ({'hidden_irreps': '6x0e', 'num_cutoff_basis': 6}, 'one of both at a'),
    ({'hidden_irreps': '6x0e', 'r_max': 3.5}, 'one of both at a time'),
    ({'hidden_irreps': '6x0e', 'radial_MLP': '[3]'}, 'channels be more')])
def test_a_start_of_another_shape_is_refused(
    data: Path, trained: training.TrainSettings, tmp_path: Path,
    changes: dict[str, Any], fault: str,
) -> None:
    settings = asked(
        tmp_path, data, start=str(trained.folder / 'tiny.model'),
        recipe=str(small.recipe(tmp_path, **changes)))
    with pytest.raises(InputError, match=fault):
        run(settings)
    # nothing is lost: with a recipe that fits it begins there
    fits = replace(settings, recipe=str(small.recipe(tmp_path)))
    with training.begun(fits, training.prepare(fits), False, False):
        pass


@pytest.mark.parametrize('more, fault', [
    ({'elements': ('H', 'Cl')}, 'asks for Cl, which no training structure'),
    ({'elements': ('Xx',)}, 'no element'),
    ({'valid_share': 1e-9}, 'no validation molecules'),
    ({'valid_share': 1 - 1e-9}, 'no training structure is left'),
    ({'recipe': 'none.toml'}, 'neither a recipe of data/distill nor a file'),
    ({'valid': ('none.h5',)}, 'no such file'),
    ({'max_atoms': 2}, 'no training structure is left'),
])
def test_what_cannot_be_trained_is_refused(
    data: Path, tmp_path: Path, more: dict[str, Any], fault: str,
) -> None:
    with pytest.raises(InputError, match=fault):
        training.prepare(asked(tmp_path, data, **more))
    assert not (tmp_path / 'run').exists()


def test_labels_of_different_teachers_are_refused(
    trained: training.TrainSettings, tmp_path: Path,
) -> None:
    made = small.frames(16)
    for name, teacher in ('a', 'gfn2'), ('b', 'mace:x'):
        frames.write_xyz(tmp_path / f'{name}.xyz', [
            replace(f, teacher=teacher) for f in made])
    both = asked(tmp_path, tmp_path / 'a.xyz')
    with pytest.raises(InputError, match='teachers: gfn2, mace:x'):
        training.prepare(replace(both, data=(
            *both.data, str(tmp_path / 'b.xyz'))))
    # and without a word on the teacher: another zero of the energy
    frames.write_xyz(tmp_path / 'c.xyz', [
        replace(f, energy=f.energy - 100 * len(f.numbers)) for f in made])
    with pytest.raises(InputError, match='100.0 eV an atom: they are of an'):
        training.prepare(asked(
            tmp_path, tmp_path / 'c.xyz',
            start=str(trained.folder / 'tiny.model')))


def test_molecules_of_validation_are_in_no_dimer_of_training(
    tmp_path: Path,
) -> None:
    made = small.frames(8)
    names = ['a', 'a+b', 'b', 'b', 'a+a', 'b+c', 'c', 'a']
    made = [replace(f, molecule=m) for f, m in zip(made, names)]
    frames.write_xyz(tmp_path / 'all.xyz', made)
    frames.write_xyz(tmp_path / 'a.xyz', [made[0]])
    train, valid, out = training.data_of(asked(
        tmp_path, tmp_path / 'all.xyz', valid=(str(tmp_path / 'a.xyz'),)))
    assert [f.molecule for f in train] == ['b', 'b', 'b+c', 'c']
    assert [f.molecule for f in valid] == ['a'] and out == 4


def test_the_split_of_one_file_holds_for_the_others(tmp_path: Path) -> None:
    made = small.frames(6)
    marks = ['train', 'valid', 'train']
    split = [replace(f, molecule=m, split=s)
             for f, m, s in zip(made, 'abc', marks)]
    plain = [replace(f, molecule=m) for f, m in zip(made[3:], 'abd')]
    frames.write_xyz(tmp_path / 'split.xyz', split)
    frames.write_xyz(tmp_path / 'plain.xyz', plain)
    settings = asked(tmp_path, tmp_path / 'split.xyz', valid_share=1e-9)
    train, valid, _ = training.data_of(replace(settings, data=(
        *settings.data, str(tmp_path / 'plain.xyz'))))
    assert [f.molecule for f in train] == ['a', 'c', 'a', 'd']
    assert [f.molecule for f in valid] == ['b', 'b']


def test_an_element_missing_from_training_is_refused(tmp_path: Path) -> None:
    made = small.frames(8)
    frames.write_xyz(tmp_path / 'a.xyz',
                     [f for f in made if f.molecule == 'methane'])
    frames.write_xyz(tmp_path / 'b.xyz',
                     [f for f in made if f.molecule == 'water'])
    with pytest.raises(InputError, match='the validation set has O'):
        training.prepare(asked(tmp_path, tmp_path / 'a.xyz',
                               valid=(str(tmp_path / 'b.xyz'),)))


def test_fewer_structures_than_a_batch_are_refused(
    data: Path, tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match='fewer than the batch_size 99'):
        training.prepare(asked(tmp_path, data, recipe=str(
            small.recipe(tmp_path, batch_size=99))))


@pytest.mark.parametrize('text, fault', [
    ('seed = 3', 'seed cannot be set there'), ('= 3', 'Invalid|expected')])
def test_a_bad_recipe_is_refused(
    tmp_path: Path, text: str, fault: str,
) -> None:
    path = tmp_path / 'r.toml'
    path.write_text(text)
    with pytest.raises(InputError, match=fault):
        training.read_recipe(str(path))


def test_an_option_the_trainer_lacks_is_told(
    data: Path, tmp_path: Path,
) -> None:
    settings = asked(tmp_path, data,
                     recipe=str(small.recipe(tmp_path, colour='red')))
    with pytest.raises(InputError, match='colour'):
        run(settings)
    assert not settings.folder.exists()


@pytest.mark.parametrize('name', [
    'cpu', 'gpu', 'further', *(f'bundled_{i}' for i in range(1, 6))])
def test_stored_recipes_are_options_of_the_trainer(
    name: str, tmp_path: Path,
) -> None:
    from mpiapp.distillation import checkpoints, trainer
    recipe = training.read_recipe(name)
    job = checkpoints.Job(tmp_path, 'x', dict(recipe, E0s='average'))
    assert trainer.parsed(job).r_max == recipe['r_max'] >= 6.0
