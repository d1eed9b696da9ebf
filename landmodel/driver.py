"""The loop over blocks of columns and time. A block's state stays in the first-level cache for the whole run."""

from landmodel.compile import cached_entry, science
from landmodel.constants import GRAVITY, SOIL_LAYERS
from landmodel.lanes import WIDTH, get, put
from landmodel.soil_thermal import set_soil_constants
from landmodel.step import isba_step
from landmodel.thermodynamics import air_density, exner
from landmodel.vegetation import set_surface_from_leaf_area


@science
def read_air(parameters, air, before, after, weight, sun):
    """Air at the start of a step: everything interpolated between two records but rain and snow, which are those of
    the end of the interval (isba.md 1.1); and the sun."""
    temperature = get(before, 0) + (get(after, 0) - get(before, 0)) * weight
    humidity = get(before, 1) + (get(after, 1) - get(before, 1)) * weight
    pressure = get(before, 3) + (get(after, 3) - get(before, 3)) * weight
    density = air_density(temperature, humidity, pressure, get(parameters.air_height))
    put(air.temperature, 0, temperature)
    put(air.humidity, 0, humidity)
    put(air.wind, 0, get(before, 2) + (get(after, 2) - get(before, 2)) * weight)
    put(air.pressure, 0, pressure)
    put(air.shortwave, 0, get(before, 4) + (get(after, 4) - get(before, 4)) * weight)
    put(air.longwave, 0, get(before, 5) + (get(after, 5) - get(before, 5)) * weight)
    put(air.rain, 0, get(after, 6))
    put(air.snow, 0, get(after, 7))
    put(air.co2, 0, (get(before, 8) + (get(after, 8) - get(before, 8)) * weight) / density)
    put(air.density, 0, density)
    put(air.exner_surface, 0, exner(pressure))
    put(air.exner_air, 0, exner(pressure - density * get(parameters.air_height) * GRAVITY))
    cos_hour = sun[2] * get(parameters.cos_longitude) - sun[3] * get(parameters.sin_longitude)
    put(
        air.cosine_zenith,
        0,
        get(parameters.sin_latitude) * sun[0] + get(parameters.cos_latitude) * (sun[1] * cos_hour),
    )


@science
def start_block(column, parameters, work):
    """What follows from parameters and state at the start of a run."""
    top = get(parameters.moist_layers) * 0.0
    for layer in range(SOIL_LAYERS):
        bottom = get(parameters.layer_bottom, layer)
        put(work.thickness, layer, bottom - top)
        top = bottom
    fewest = SOIL_LAYERS
    most = 1
    for lane in range(WIDTH):
        layers = int(parameters.moist_layers[lane])
        fewest = min(fewest, layers)
        most = max(most, layers)
    for layer in range(SOIL_LAYERS - 1):
        spacing = 0.5 * (get(work.thickness, layer) + get(work.thickness, layer + 1))
        put(work.inverse_spacing, layer, 1.0 / spacing)
    work.fewest_layers = fewest
    work.most_layers = most
    set_soil_constants(parameters, work)
    set_surface_from_leaf_area(column, parameters, work)


@science
def transpose_in(block, rows, source, lanes):
    """Copy rows of a (row, value) matrix into the lanes of a block (value, lane)."""
    for lane in range(WIDTH):
        row = source[lanes[lane]]
        for value in range(rows):
            block[value, lane] = row[value]


@science
def add_rows(total, selected, state_rows, state, surface_rows, surface, flux):
    """Add the selected rows of state, surface and fluxes to running sums."""
    for number in range(len(selected)):
        row = selected[number]
        if row < state_rows:
            put(total, number, get(total, number) + get(state, row))
        elif row < state_rows + surface_rows:
            put(total, number, get(total, number) + get(surface, row - state_rows))
        else:
            put(total, number, get(total, number) + get(flux, row - state_rows - surface_rows))


@science
def write_rows(target, time, total, count, scale, lanes, used, offset):
    """Write sums times a scale to a time of an output (column x member, time, row) and empty them."""
    for number in range(count):
        put(total, number, get(total, number) * scale)
    for lane in range(used):
        row = target[offset + lanes[lane], time]
        for number in range(count):
            row[number] = total[number, lane]
    for number in range(count):
        put(total, number, 0.0)


@cached_entry
def run_blocks(
    order, offset, members, state_rows, parameter_rows, cells, forcing, steps_per_record, sun, day_starts, options,
    block, flat, buffers, selections, steps_per_output, instant_step, outputs,
):  # fmt: skip
    """Run rows (column x member) through all steps, `WIDTH` at a time in the given order.

    `state_rows` (row, value) is updated in place; `parameter_rows` (column, value); `cells` (column,) index the
    forcing (cell, record, variable); `sun` (step, 4) as in `sun_of_times`; `day_starts` (step,). `block`: the records
    state, parameters, air, work, flux; `flat`: the same memory as (row, lane). `selections`: rows for means, end
    values and instants; `outputs`: their (column x member, time, row), of which this call's first is `offset`.
    """
    column, parameters, air, work, flux = block[0][0], block[1][0], block[2][0], block[3][0], block[4][0]
    state_flat, parameter_flat, surface_flat, flux_flat = flat
    before, after, lanes, parameter_lanes, mean_sum, end_sum, instant_sum = buffers
    means, ends, instants = selections
    mean_out, end_out, instant_out = outputs
    option = options[0]
    steps = len(day_starts)
    state_size = state_flat.shape[0]
    surface_size = surface_flat.shape[0]
    for first in range(0, len(order), WIDTH):
        used = min(WIDTH, len(order) - first)
        for lane in range(WIDTH):
            # the lanes left over in the last block repeat its first row; their results are not used
            lanes[lane] = order[first + lane] if lane < used else order[first]
            parameter_lanes[lane] = lanes[lane] // members
        transpose_in(state_flat, state_size, state_rows, lanes)
        transpose_in(parameter_flat, parameter_flat.shape[0], parameter_rows, parameter_lanes)
        start_block(column, parameters, work)
        mean_sum[:] = 0.0
        end_sum[:] = 0.0
        instant_sum[:] = 0.0
        output = 0
        for step in range(steps):
            record = step // steps_per_record
            part = step - record * steps_per_record
            if part == 0:
                for lane in range(WIDTH):
                    cell = cells[parameter_lanes[lane]]
                    for variable in range(9):
                        before[variable, lane] = forcing[cell, record, variable]
                        after[variable, lane] = forcing[cell, record + 1, variable]
            read_air(parameters, air, before, after, part / steps_per_record, sun[step])
            isba_step(column, parameters, air, work, flux, option, day_starts[step])
            if steps_per_output > 0:
                add_rows(mean_sum, means, state_size, state_flat, surface_size, surface_flat, flux_flat)
                within = step - output * steps_per_output
                if within == instant_step:
                    add_rows(instant_sum, instants, state_size, state_flat, surface_size, surface_flat, flux_flat)
                    write_rows(instant_out, output, instant_sum, len(instants), 1.0, lanes, used, offset)
                if within == steps_per_output - 1:
                    add_rows(end_sum, ends, state_size, state_flat, surface_size, surface_flat, flux_flat)
                    write_rows(end_out, output, end_sum, len(ends), 1.0, lanes, used, offset)
                    write_rows(mean_out, output, mean_sum, len(means), 1.0 / steps_per_output, lanes, used, offset)
                    output += 1
        for lane in range(used):
            row = state_rows[lanes[lane]]
            for value in range(state_size):
                row[value] = state_flat[value, lane]
