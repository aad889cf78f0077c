"""What every optimiser must do, whatever its method."""
import subprocess
import sys

import numpy as np
import pytest

from mpiapp.optimize import names, optimizer
from mpiapp.optimize.registry import ALIASES
from mpiapp.records import InputError


@pytest.fixture(params=names())
def method(request):
    """Each optimiser with its defaults."""
    return optimizer(request.param)


def argon(x):
    """Return the numbers of as many atoms."""
    return np.full(len(x), 18, np.int32)


def walk(method, surface, state, x, n_steps):
    """Return (state, positions) after n steps."""
    for _ in range(n_steps):
        state, x = method.step(state, x, *surface(x))
    return state, x


@pytest.mark.parametrize('name', sorted(set(names()) - set(ALIASES)))
def test_the_file_name_is_the_key(name):
    assert type(optimizer(name)).__module__ == f'mpiapp.optimize.{name}'
    assert optimizer(name).name == name


def test_the_promised_optimisers_exist():
    assert {'ase-lbfgs', 'lbfgs', 'fire', 'internal'} <= set(names())


def test_listing_the_names_loads_no_optimiser():
    code = ('import sys; from mpiapp.optimize import names; names(); '
            'print([n for n in names() if "mpiapp.optimize." + n '
            'in sys.modules])')
    run = subprocess.run([sys.executable, '-c', code], check=True,
                         capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == '[]'


@pytest.mark.parametrize('n_steps', [0, 1, 2, 9])
def test_a_dumped_state_goes_on_bit_for_bit(method, toys, n_steps):
    x = toys.cluster(6, seed=0)
    state, x = walk(method, toys.morse, method.init(x, argon(x)), x, n_steps)
    copied = method.load({k: np.array(v, copy=True)
                          for k, v in method.dump(state).items()})
    _, ours = walk(method, toys.morse, copied, x, 12)
    _, theirs = walk(method, toys.morse, state, x, 12)
    assert ours.tobytes() == theirs.tobytes()


def test_a_dump_needs_no_pickle(method, toys):
    x = toys.cluster(3, seed=0)
    for n_steps in (0, 3):
        state = method.init(x, argon(x))
        state, _ = walk(method, toys.morse, state, x, n_steps)
        assert not any(v.dtype.hasobject for v in method.dump(state).values())


def test_a_step_changes_none_of_its_arguments(method, toys):
    x = toys.cluster(5, seed=0)
    state, x = walk(method, toys.morse, method.init(x, argon(x)), x, 3)
    energy, forces = toys.morse(x)
    before = {k: v.tobytes() for k, v in method.dump(state).items()}
    x_before, forces_before = x.tobytes(), forces.tobytes()
    method.step(state, x, energy, forces)
    assert {k: v.tobytes() for k, v in method.dump(state).items()} == before
    assert (x.tobytes(), forces.tobytes()) == (x_before, forces_before)


@pytest.mark.filterwarnings('error')
def test_zero_force_moves_nothing_at_rest(method):
    x, zero = np.eye(3), np.zeros((3, 3))
    state = method.init(x, argon(x))
    for _ in range(3):
        state, moved = method.step(state, x, 0.0, zero)
        np.testing.assert_array_equal(moved, x)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('size', [1e-3, 1e-200, 0.0])
def test_vanishing_force_in_motion_gives_finite_steps(method, size):
    x, ahead = np.eye(4, 3), np.ones((4, 3))
    state = method.init(x, argon(x))
    # downhill first, so that there is a velocity along the small force
    for forces in (ahead, ahead, size * ahead, size * ahead, size * ahead):
        state, x = method.step(state, x, 0.0, forces)
        assert np.isfinite(x).all()


@pytest.mark.parametrize('name', ['newton', 'base', 'driver', ''])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(InputError, match='ase-lbfgs, fire, internal, lbfgs'):
        optimizer(name)


@pytest.mark.parametrize('name, options', [
    ('lbfgs', {'memory': 0}), ('lbfgs', {'maxstep': 1.1}),
    ('lbfgs', {'alpha': 0.0}), ('lbfgs', {'damping': -1.0}),
    ('lbfgs', {'line_search': 1}), ('fire', {'dt': 0.0}),
    ('fire', {'f_dec': 1.0}), ('fire', {'mixing': 2.0}),
    ('fire', {'maxstep': 0.0}), ('fire', {'memory': 3}),
    ('internal', {'memory': 0}), ('internal', {'trust': 0.0}),
    ('internal', {'trust': 0.6}), ('internal', {'maxstep': 1.1}),
], ids=str)
def test_wrong_options_are_input_errors(name, options):
    with pytest.raises(InputError, match=name):
        optimizer(name, **options)


def test_lbfgs_never_moves_an_atom_further_than_maxstep(toys):
    method, x = optimizer('lbfgs', maxstep=0.1), toys.cluster(6, seed=5)
    state = method.init(x, argon(x))
    longest = []
    for _ in range(10):
        state, new = method.step(state, x, *toys.lennard_jones(x))
        longest.append(np.linalg.norm(new - x, axis=1).max())
        x = new
    assert max(longest) == pytest.approx(0.1, rel=1e-12)
