"""A column's numbers depend on itself alone, bit for bit: not on its neighbours in a block, its place, their
number, the threads, the other members, nor on where a run is cut."""

from typing import Any

import numpy as np
import pytest

from ldas.landmodel import Forcing, Isba, Options, OutputRequest, Parameters, State, cold_start, columns
from ldas.landmodel.driver import run_blocks
from ldas.landmodel.lanes import WIDTH
from tests.landmodel.support import FLUX_OUTPUTS, STATE_OUTPUTS, Array, random_forcing, random_state, with_snow

START = "2007-03-20T18"
HOURS = 48
EXTREMES = ("cold", "hot", "snowfall", "flooded", "polar night", "dry", "thaw", "dense")
# bare, herbs, trees and a tropical tree next to each other; shallow next to deep soil (8, 9, 10 and 11 moist layers)
TYPES = ("NO", "C3", "TENE", "TRBE", "C4", "TEBD", "PARK", "SHRB", "GRAS", "ROCK", "BONE", "IRR", "TROG", "SNOW")

OPTIONS = (
    Options(),
    Options(light_scheme="carrer", runoff="DT92", horton=True, drip="SGH", snow_layers=3),
    Options(pedotransfer="CO84", soil_respiration="PRM", horton=True, conserve_heat=True),
)


def adversarial(options: Options, count: int) -> tuple[Parameters, State, Forcing]:
    """Neighbours as different as they can be: every column has its own regime, day next to night, frost next to heat,
    deep snow next to none."""
    random = np.random.default_rng(11)
    number = np.arange(count)
    codes = [TYPES[i % len(TYPES)] for i in number]
    depth = np.array([1.0, 1.5, 2.0, 3.0, 2.5])[number % 5]
    vegetated = np.array([code not in ("NO", "ROCK", "SNOW") for code in codes])
    parameters = columns(
        codes, number, 7, 1.0, np.array([0.1, 0.45, 0.25, 0.6])[number % 4],
        np.array([0.85, 0.15, 0.4, 0.2])[number % 4],
        np.array([45.0, -70.0, 5.0])[number % 3], np.where(number % 2 == 0, 10.0, -170.0), options,
        {"DROOT": np.where(vegetated, depth, 0.2), "DG2": depth}, cell_size_km=np.where(number % 2 == 0, 5.0, 50.0),
    )  # fmt: skip
    regimes = [EXTREMES[i % len(EXTREMES)] for i in number]
    states = [random_state(random, parameters.take(np.array([i])), options, regimes[i]) for i in number]
    state = State(*(np.concatenate(values) for values in zip(*states, strict=True)))
    bare_of_snow = with_snow(state, np.where(number % 2 == 0, 0.0, 10.0 ** (number % 5 - 2.0)), 120.0, 265.0, 3)
    if options.snow_layers == 3:
        state = bare_of_snow
    parts = [random_forcing(random, regimes[i], HOURS + 1, 1) for i in number]
    forcing = Forcing(*(np.concatenate(values, axis=1) for values in zip(*parts, strict=True)))
    return parameters, state, forcing


def run(
    options: Options, parameters: Parameters, state: State, forcing: Forcing, **changes: Any
) -> tuple[State, dict[str, Array]]:
    request = OutputRequest(mean=FLUX_OUTPUTS, end=STATE_OUTPUTS, interval_s=7200.0)
    arguments = {"start": START, "step_s": 1800.0, "output": request} | changes
    return Isba(parameters, options).run(state, forcing, **arguments)


def part_of(columns_: Array, parameters: Parameters, state: State) -> tuple[Parameters, State]:
    return parameters.take(columns_), state.take(columns_)


def same(expected: tuple[State, dict[str, Array]], got: tuple[State, dict[str, Array]], columns_: Any) -> None:
    """The states and all outputs of some columns of the first result are the bytes of the second."""
    for name, whole, part in zip(State._fields, expected[0], got[0], strict=True):
        assert whole[columns_].tobytes() == part.tobytes(), name
    for name, whole in expected[1].items():
        assert np.ascontiguousarray(whole[:, columns_]).tobytes() == np.ascontiguousarray(got[1][name]).tobytes(), name


COUNT = 3 * WIDTH + 3


@pytest.fixture(scope="module", params=range(len(OPTIONS)))
def mixed(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    options = OPTIONS[request.param]
    columns_ = adversarial(options, COUNT)
    return options, *columns_, run(options, *columns_)


def test_the_mix_is_adversarial(mixed: tuple[Any, ...]) -> None:
    _, parameters, _, _, (_, outputs) = mixed
    first = slice(0, WIDTH)
    snowy = outputs["SWE"][:, first].max(axis=0) > 0.0
    frozen = np.nan_to_num(outputs["WGI"][:, first]).max(axis=(0, 2)) > 0.0
    lit = outputs["SWUP"][:, first] > 0.0
    for mixture in (snowy, frozen, parameters.woody[first] > 0.5, parameters.vegetated[first] > 0.5):
        assert 0 < mixture.sum() < WIDTH
    assert (lit.any(axis=1) & ~lit.all(axis=1)).any()
    assert len(set(parameters.moist_layers[first])) >= 4


def test_a_column_alone(mixed: tuple[Any, ...]) -> None:
    options, parameters, state, forcing, whole = mixed
    for column in range(COUNT):
        chosen = np.array([column])
        same(whole, run(options, *part_of(chosen, parameters, state), forcing), chosen)


def test_any_order(mixed: tuple[Any, ...]) -> None:
    options, parameters, state, forcing, whole = mixed
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(COUNT)
        same(whole, run(options, *part_of(order, parameters, state), forcing), order)


@pytest.mark.parametrize("count", [1, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH + 5])
def test_any_number_of_columns(mixed: tuple[Any, ...], count: int) -> None:
    options, parameters, state, forcing, whole = mixed
    chosen = np.arange(count)
    same(whole, run(options, *part_of(chosen, parameters, state), forcing), chosen)


def test_any_lane(mixed: tuple[Any, ...]) -> None:
    """The same column in each of the lanes, among others."""
    options, parameters, state, forcing, whole = mixed
    for lane in range(WIDTH):
        chosen = np.roll(np.arange(WIDTH), lane)
        same(whole, run(options, *part_of(chosen, parameters, state), forcing), chosen)


def test_twins_in_one_block_are_equal(mixed: tuple[Any, ...]) -> None:
    options, parameters, state, forcing, whole = mixed
    chosen = np.array([5, 0, 5, 5, 2, 5, 1, 5])
    same(whole, run(options, *part_of(chosen, parameters, state), forcing), chosen)


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_any_number_of_threads(mixed: tuple[Any, ...], threads: int) -> None:
    options, parameters, state, forcing, whole = mixed
    same(whole, run(options, parameters, state, forcing, threads=threads), slice(None))


def test_twice_the_same(mixed: tuple[Any, ...]) -> None:
    options, parameters, state, forcing, whole = mixed
    before = [values.copy() for values in state]
    same(whole, run(options, parameters, state, forcing), slice(None))
    for name, old, new in zip(State._fields, before, state, strict=True):
        assert old.tobytes() == new.tobytes(), f"the run changed its input {name}"


@pytest.mark.parametrize("cut", [1, 7, 23, 24, 47])
def test_cut_anywhere(mixed: tuple[Any, ...], cut: int) -> None:
    """Two runs, the second from the state that the first returned, are one run: the state is the whole restart."""
    options, parameters, state, forcing, _ = mixed
    request = OutputRequest(mean=FLUX_OUTPUTS, end=STATE_OUTPUTS, interval_s=1800.0)
    model = Isba(parameters, options)
    whole, outputs = model.run(state, forcing, START, 1800.0, output=request)
    early = Forcing(*(np.asarray(values)[: cut + 1] for values in forcing))
    late = Forcing(*(np.asarray(values)[cut:] for values in forcing))
    middle, first = model.run(state, early, START, 1800.0, output=request)
    end, second = model.run(middle, late, np.datetime64(START, "h") + cut, 1800.0, output=request)
    for name, a, b in zip(State._fields, whole, end, strict=True):
        assert a.tobytes() == b.tobytes(), name
    for name in outputs:
        assert outputs[name].tobytes() == np.concatenate([first[name], second[name]]).tobytes(), name


@pytest.mark.parametrize("members", [1, 3, 9])
def test_members(mixed: tuple[Any, ...], members: int) -> None:
    """A member's numbers are those of a run without members."""
    options, parameters, state, forcing, whole = mixed
    many = state.members(members)
    water = many.soil_water.copy()
    water[:, 1:, 1] *= 0.99
    result = run(options, parameters, many._replace(soil_water=water), forcing)
    assert result[0].soil_water.shape == (COUNT, members, 14)
    for member in range(members):
        of_member = (
            result[0].member(member),
            {name: np.ascontiguousarray(values[:, :, member]) for name, values in result[1].items()},
        )
        expected = (
            whole if member == 0 else run(options, parameters, state._replace(soil_water=water[:, member]), forcing)
        )
        same(expected, of_member, slice(None))
    if members > 1:
        assert not np.array_equal(result[0].soil_water[:, 0], result[0].soil_water[:, 1])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("members", [0, 3])
def test_only_some_columns_and_members_are_run(mixed: tuple[Any, ...], members: int, threads: int) -> None:
    """The chosen ones come to the same bytes, the others keep their state and put out nothing."""
    options, parameters, state, forcing, _ = mixed
    start = state.members(members) if members else state
    whole = run(options, parameters, start, forcing)
    where = np.random.default_rng(5).random((COUNT, members) if members else COUNT) < 0.6
    end, outputs = run(options, parameters, start, forcing, where=where, threads=threads)
    for name, before, after, of_all in zip(State._fields, start, end, whole[0], strict=True):
        assert after[where].tobytes() == of_all[where].tobytes(), name
        assert after[~where].tobytes() == before[~where].tobytes(), name
    for name, values in outputs.items():
        assert values[:, where].tobytes() == whole[1][name][:, where].tobytes(), name
        assert np.isnan(values[:, ~where]).all(), name


def test_columns_of_one_cell_share_its_forcing() -> None:
    """Patches of a cell, next to patches of another, are what they are with a cell of their own."""
    options = Options()
    parameters, state, forcing = adversarial(options, 2 * WIDTH)
    cell = np.array([3, 0, 3, 1, 1, 0, 2, 3] * 2)
    shared = parameters._replace(cell=cell)
    separate = Forcing(*(np.asarray(values)[:, cell] for values in forcing))
    got = run(options, shared, state, forcing)
    same(run(options, parameters, state, separate), got, slice(None))


def test_arrays_of_any_memory_order_reach_the_one_compiled_kernel() -> None:
    """Forcing in Fortran order and read-only, every other column of a selection: same bytes, nothing compiled anew."""
    options = Options()
    parameters, state, forcing = adversarial(options, 2 * WIDTH)
    chosen = slice(None, None, 2)
    expected = run(options, parameters, state, forcing)
    compiled = len(run_blocks.signatures)
    turned = Forcing(*(np.asfortranarray(values) for values in forcing))
    for values in turned:
        np.asarray(values).setflags(write=False)
    single = Forcing(*(np.asarray(values, dtype=np.float64)[:, :, None][..., 0] for values in turned))
    same(expected, run(options, parameters.take(chosen), state.take(chosen), single), chosen)
    assert len(run_blocks.signatures) == compiled


def test_final_state_in_place(mixed: tuple[Any, ...]) -> None:
    options, parameters, state, forcing, whole = mixed
    given = state.take(slice(None))
    result = run(options, parameters, given, forcing, overwrite_state=True)
    assert all(a is b for a, b in zip(result[0], given, strict=True))
    same(whole, result, slice(None))


def test_cold_start_runs_alike_everywhere() -> None:
    """Columns of the same parameters, state and forcing are the same to the last bit in every lane and block."""
    options = Options()
    count = 2 * WIDTH + 3
    parameters = columns(["GRAS"] * count, 0, 10, 1.0 / count, 0.25, 0.4, 45.0, 5.0, options)
    forcing = random_forcing(np.random.default_rng(2), "thaw", 49, 1)
    state, outputs = run(options, parameters, with_snow(cold_start(parameters), 5.0, 150.0, 270.0), forcing)
    for values in state:
        assert all(values[i].tobytes() == values[0].tobytes() for i in range(count))
    for values in outputs.values():
        assert all(values[:, i].tobytes() == values[:, 0].tobytes() for i in range(count))
