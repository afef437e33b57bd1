"""A batch of rows draws from one generator for each row what every row would draw alone."""

import threading
import time

import pytest
import torch

from svae.distributions import DiagonalNormal, PowerSpherical, VonMisesFisher
from svae.noise import Rows, undisturbed

ROWS, BATCH = 3, 700


def _normal(loc, concentration):
    return DiagonalNormal(loc, concentration.unsqueeze(-1).rsqrt())


def _inversion(loc, concentration):
    return VonMisesFisher(loc, concentration, sampler="inversion")


def _fixed(loc, concentration):
    return VonMisesFisher(loc, concentration, proposals=3)


FAMILIES = [
    (_normal, 4),
    (PowerSpherical, 4),
    (_inversion, 3),
    (_fixed, 5),
    (VonMisesFisher, 2),
    (VonMisesFisher, 3),
    (VonMisesFisher, 11),
]


def _generators():
    return Rows(torch.Generator().manual_seed(seed) for seed in range(ROWS))


@pytest.mark.parametrize(("family", "m"), FAMILIES)
@pytest.mark.parametrize("samples", [1, 3])
def test_a_row_draws_what_it_would_alone(family, m, samples):
    torch.manual_seed(0)
    loc = torch.nn.functional.normalize(torch.randn(ROWS, BATCH, m), dim=-1)
    concentration = 1 + 100 * torch.rand(ROWS, BATCH)
    generators, again = _generators(), _generators()
    # twice: the second draw tells whether the first used up as many numbers
    for _ in range(2):
        together = family(loc, concentration).draw((samples,), generators)
        alone = [family(loc[r], concentration[r]).draw((samples,), again[r]) for r in range(ROWS)]
        for r in range(ROWS):
            assert torch.equal(together.proposals[:, r], alone[r].proposals)
            torch.testing.assert_close(together.value[:, r], alone[r].value, rtol=1e-6, atol=1e-6)


def test_as_many_generators_as_rows_are_needed():
    q = DiagonalNormal(torch.zeros(2, 5, 4), torch.ones(2, 5, 4))
    with pytest.raises(ValueError, match="zip"):
        q.draw((1,), _generators())


def test_threads_that_draw_from_torchs_generator_take_turns():
    found, first_drew = {}, threading.Event()

    def draw(seed):
        with undisturbed("cpu"):
            torch.manual_seed(seed)
            begun = torch.rand(2)
            first_drew.set()
            time.sleep(0.02)  # the other one would seed the generator in this time
            found[seed] = torch.cat([begun, torch.rand(2)])

    before = torch.get_rng_state()
    threads = [threading.Thread(target=draw, args=(seed,)) for seed in (0, 1)]
    threads[0].start()
    first_drew.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), before)
    for seed, numbers in found.items():
        assert torch.equal(numbers, torch.rand(4, generator=torch.Generator().manual_seed(seed)))
