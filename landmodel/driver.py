"""The loop over blocks of columns and time. A block's state stays in the first-level cache for the whole run."""

from ldas.landmodel.air import read_air
from ldas.landmodel.compile import cached_entry, science
from ldas.landmodel.lanes import WIDTH
from ldas.landmodel.records import record, rows
from ldas.landmodel.start import set_soil_grid, start_columns
from ldas.landmodel.step import isba_step


@science
def transpose_in(block, source, lanes):
    """Copy rows of a (row, value) matrix into the lanes of a block (value, lane)."""
    for lane in range(WIDTH):
        row = source[lanes[lane]]
        for value in range(len(block)):
            block[value, lane] = row[value]


@science
def add_rows(total, selected, state, surface, flux):
    """Add the selected rows of state, surface and fluxes to running sums, all (row, lane)."""
    sums = rows(total)
    for number in range(len(selected)):
        row = selected[number]
        if row < len(state):
            sums[number] += rows(state)[row]
        elif row < len(state) + len(surface):
            sums[number] += rows(surface)[row - len(state)]
        else:
            sums[number] += rows(flux)[row - len(state) - len(surface)]


@science
def write_rows(target, time, total, scale, lanes, used, offset):
    """Write sums times a scale to a time of an output (column x member, time, row) and empty them."""
    for lane in range(used):
        row = target[offset + lanes[lane], time]
        for number in range(len(total)):
            row[number] = total[number, lane] * scale
    total[:] = 0.0


@science
def write_wanted(
    target, wanted, step, reached, selected, state, surface, flux, lanes, parameter_lanes, used, offset
):  # fmt: skip
    """Copy rows of state, surface and fluxes to the places (column x member, place, row) of an output that belong to a
    step; before the first step only the state is there.

    `wanted` (column, place): rising numbers of steps; `reached` (lane,): the next place of each lane.
    """
    fluxes = len(state) + len(surface)
    places = wanted.shape[1]
    for lane in range(used):
        steps = wanted[parameter_lanes[lane]]
        while reached[lane] < places and steps[reached[lane]] == step:
            row = target[offset + lanes[lane], reached[lane]]
            for number in range(len(selected)):
                place = selected[number]
                if place < len(state):
                    row[number] = state[place, lane]
                elif step > 0 and place < fluxes:
                    row[number] = surface[place - len(state), lane]
                elif step > 0:
                    row[number] = flux[place - fluxes, lane]
            reached[lane] += 1


@cached_entry
def run_blocks(
    order, offset, members, state_rows, parameter_rows, cells, forcing, steps_per_record, sun, day_starts, options,
    block, flat, buffers, selections, steps_per_output, instant_step, wanted, outputs,
):  # fmt: skip
    """Run rows (column x member) through all steps, `WIDTH` at a time in the given order.

    `state_rows` (row, value) is updated in place; `parameter_rows` (column, value); `cells` (column,) index the
    forcing (cell, record, variable); `sun` (step, 4) as in `sun_of_times`; `day_starts` (step,). `block`: the records
    state, parameters, air, work, flux, and the forcing before and after; `flat`: the same memory as (row, lane).
    `selections`: rows for means, end values, instants and after chosen steps; `outputs`: their (column x
    member, time, row), of which this call's first is `offset`. `wanted` (column, place): those steps, rising; 0 is the
    state at the start.
    """
    column, parameters, air, work, flux = (
        record(block[0]), record(block[1]), record(block[2]), record(block[3]), record(block[4])
    )  # fmt: skip
    before, after = record(block[5]), record(block[6])
    state_flat, parameter_flat, surface_flat, flux_flat, before_flat, after_flat = flat
    lanes, parameter_lanes, reached, mean_sum, end_sum, instant_sum = buffers
    means, ends, instants, chosen = selections
    mean_out, end_out, instant_out, chosen_out = outputs
    option = options[0]
    steps = len(day_starts)
    for first in range(0, len(order), WIDTH):
        used = min(WIDTH, len(order) - first)
        for lane in range(WIDTH):
            # the lanes left over in the last block repeat its first row; their results are not used
            lanes[lane] = order[first + lane] if lane < used else order[first]
            parameter_lanes[lane] = lanes[lane] // members
        transpose_in(state_flat, state_rows, lanes)
        transpose_in(parameter_flat, parameter_rows, parameter_lanes)
        set_soil_grid(parameters, work)
        start_columns(column, parameters, work)
        mean_sum[:] = 0.0
        end_sum[:] = 0.0
        instant_sum[:] = 0.0
        reached[:] = 0
        output = 0
        for step in range(steps):
            if len(chosen) > 0:
                write_wanted(
                    chosen_out, wanted, step, reached, chosen, state_flat, surface_flat, flux_flat, lanes,
                    parameter_lanes, used, offset,
                )  # fmt: skip
            interval = step // steps_per_record
            part = step - interval * steps_per_record
            if part == 0:
                for lane in range(WIDTH):
                    cell = cells[parameter_lanes[lane]]
                    for variable in range(len(before_flat)):
                        before_flat[variable, lane] = forcing[cell, interval, variable]
                        after_flat[variable, lane] = forcing[cell, interval + 1, variable]
            read_air(parameters, air, before, after, part / steps_per_record, sun[step])
            isba_step(column, parameters, air, work, flux, option, day_starts[step])
            if steps_per_output > 0:
                add_rows(mean_sum, means, state_flat, surface_flat, flux_flat)
                within = step - output * steps_per_output
                if within == instant_step:
                    add_rows(instant_sum, instants, state_flat, surface_flat, flux_flat)
                    write_rows(instant_out, output, instant_sum, 1.0, lanes, used, offset)
                if within == steps_per_output - 1:
                    add_rows(end_sum, ends, state_flat, surface_flat, flux_flat)
                    write_rows(end_out, output, end_sum, 1.0, lanes, used, offset)
                    write_rows(mean_out, output, mean_sum, 1.0 / steps_per_output, lanes, used, offset)
                    output += 1
        if len(chosen) > 0:
            write_wanted(
                chosen_out, wanted, steps, reached, chosen, state_flat, surface_flat, flux_flat, lanes,
                parameter_lanes, used, offset,
            )  # fmt: skip
        for lane in range(used):
            row = state_rows[lanes[lane]]
            for value in range(len(state_flat)):
                row[value] = state_flat[value, lane]
