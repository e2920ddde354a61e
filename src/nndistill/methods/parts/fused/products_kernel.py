"""The kernel of `products`."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _channels(volumes, channels, number, places, inside, centres, sample, volume, CENTRED: tl.constexpr):
    """Some channels at some places, `(channels, places)` in float32; zero where there are none."""
    present = channels < number
    both = present[:, None] & inside[None, :]
    rows = sample * number + channels
    values = tl.load(volumes + rows[:, None] * volume + places[None, :], mask=both, other=0.0).to(tl.float32)
    if CENTRED:
        values = tl.where(both, values - tl.load(centres + rows, mask=present, other=0.0)[:, None], 0.0)
    return values


@triton.jit
def _along(starts, lengths, table, block, blocks, size, term, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Coefficients that a block needs along one axis, which of them are there, and their matrix."""
    places = tl.arange(0, COLUMNS)
    present = places < tl.load(lengths + block)
    first = table + (term * blocks + block) * ROWS * COLUMNS
    matrix = tl.load(first + tl.arange(0, ROWS)[:, None] * COLUMNS + places[None, :])
    return (tl.load(starts + block) + size + places) % size, present, matrix


@triton.jit
def _synthesised(
    sums, coefficients, channels, number, sample, term, n_z, n_y, n_x,
    z_starts, z_lengths, z_table, block_z, blocks_z,
    y_starts, y_lengths, y_table, block_y, blocks_y,
    x_starts, x_lengths, x_table, block_x, blocks_x,
    SB: tl.constexpr, TZ: tl.constexpr, WZ: tl.constexpr, TY: tl.constexpr, WY: tl.constexpr,
    TX: tl.constexpr, WX: tl.constexpr,
):  # fmt: skip
    """Add the synthesis of one band to `(SB, TZ, TY, TX)`."""
    y, y_there, along_y = _along(y_starts, y_lengths, y_table, block_y, blocks_y, n_y, term, TY, WY)
    x, x_there, along_x = _along(x_starts, x_lengths, x_table, block_x, blocks_x, n_x, term, TX, WX)
    inside = (channels < number)[:, None, None] & y_there[None, :, None] & x_there[None, None, :]
    in_plane = y[None, :, None] * n_x + x[None, None, :]
    start = tl.load(z_starts + block_z)
    for plane in range(tl.load(z_lengths + block_z)):
        z = (start + plane + n_z) % n_z
        rows = (sample * number + channels) * n_z + z
        window = tl.load(coefficients + rows[:, None, None] * n_y * n_x + in_plane, mask=inside, other=0.0)
        window = tl.reshape(window.to(tl.float32), (SB * WY, WX))
        lines = tl.reshape(tl.dot(window, tl.trans(along_x), input_precision="ieee"), (SB, WY, TX))
        lines = tl.reshape(tl.permute(lines, (0, 2, 1)), (SB * TX, WY))
        planes = tl.reshape(tl.dot(lines, tl.trans(along_y), input_precision="ieee"), (SB, TX, TY))
        weights = tl.load(z_table + ((term * blocks_z + block_z) * TZ + tl.arange(0, TZ)) * WZ + plane)
        sums += weights[None, :, None, None] * tl.permute(planes, (0, 2, 1))[:, None, :, :]
    return sums


@triton.jit
def products_kernel(
    teacher, teacher_centres, student, student_centres, partner, weight, square,
    low, high, mixed, of_teacher, of_student, energy,
    teacher_channels, student_channels, size_z, size_y, size_x,
    n_z, n_y, n_x,
    z_starts, z_lengths, z_table, y_starts, y_lengths, y_table, x_starts, x_lengths, x_table,
    blocks_z, blocks_y, blocks_x,
    CENTRED: tl.constexpr, ITSELF: tl.constexpr, SYNTHESIS: tl.constexpr,
    CB: tl.constexpr, SB: tl.constexpr, TZ: tl.constexpr, WZ: tl.constexpr, TY: tl.constexpr, WY: tl.constexpr,
    TX: tl.constexpr, WX: tl.constexpr,
):  # fmt: skip
    """One tile of one sample, all channels of the teacher, some of the student."""
    tile, sample, own_block = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    block_x = tile % blocks_x
    block_y = (tile // blocks_x) % blocks_y
    block_z = tile // (blocks_x * blocks_y)
    voxel = tl.arange(0, TZ * TY * TX)
    z = block_z * TZ + voxel // (TY * TX)
    y = block_y * TY + (voxel // TX) % TY
    x = block_x * TX + voxel % TX
    inside = (z < size_z) & (y < size_y) & (x < size_x)
    places = (z * size_y + y) * size_x + x
    volume = size_z * size_y * size_x
    own = own_block * SB + tl.arange(0, SB)

    made = tl.zeros((SB, TZ * TY * TX), tl.float32)
    if SYNTHESIS:
        sums = tl.zeros((SB, TZ, TY, TX), tl.float32)
        sums = _synthesised(
            sums, low, own, student_channels, sample, 0, n_z, n_y, n_x,
            z_starts, z_lengths, z_table, block_z, blocks_z,
            y_starts, y_lengths, y_table, block_y, blocks_y,
            x_starts, x_lengths, x_table, block_x, blocks_x,
            SB, TZ, WZ, TY, WY, TX, WX,
        )  # fmt: skip
        sums = _synthesised(
            sums, high, own, student_channels, sample, 1, n_z, n_y, n_x,
            z_starts, z_lengths, z_table, block_z, blocks_z,
            y_starts, y_lengths, y_table, block_y, blocks_y,
            x_starts, x_lengths, x_table, block_x, blocks_x,
            SB, TZ, WZ, TY, WY, TX, WX,
        )  # fmt: skip
        made = -tl.reshape(sums, (SB, TZ * TY * TX))

    program = sample * tl.num_programs(0) + tile
    own_partner = _channels(partner, own, student_channels, places, inside, student_centres, sample, volume, CENTRED)
    partner_turned = tl.trans(own_partner)
    total = 0.0
    for first in range(0, teacher_channels, CB):
        channels = first + tl.arange(0, CB)
        both = (own < student_channels)[:, None] & (channels < teacher_channels)[None, :]
        values = _channels(
            teacher, channels, teacher_channels, places, inside, teacher_centres, sample, volume, CENTRED
        )
        back = tl.load(weight + channels[None, :] * student_channels + own[:, None], mask=both, other=0.0)
        made = tl.dot(back, values, made, input_precision="ieee")
        part = tl.dot(values, partner_turned, input_precision="ieee")
        targets = of_teacher + (program * teacher_channels + channels)[:, None] * student_channels + own[None, :]
        tl.store(targets, part, mask=tl.trans(both))
        total += tl.sum(values * values)
    if own_block == 0:
        tl.store(energy + program, total)
    for first in range(0, student_channels, SB):
        channels = first + tl.arange(0, SB)
        both = (own < student_channels)[:, None] & (channels < student_channels)[None, :]
        if ITSELF:
            values = own_partner
        else:
            values = _channels(
                student, channels, student_channels, places, inside, student_centres, sample, volume, CENTRED
            )
        mixing = tl.load(square + own[:, None] * student_channels + channels[None, :], mask=both, other=0.0)
        made = tl.dot(-mixing, values, made, input_precision="ieee")
        part = tl.dot(values, partner_turned, input_precision="ieee")
        targets = of_student + (program * student_channels + channels)[:, None] * student_channels + own[None, :]
        tl.store(targets, part, mask=tl.trans(both))

    kept = (own < student_channels)[:, None] & inside[None, :]
    targets = mixed + (sample * student_channels + own)[:, None] * volume + places[None, :]
    tl.store(targets, made.to(mixed.dtype.element_ty), mask=kept)


@triton.jit
def scaled_kernel(x, factor, scaled, size, BLOCK: tl.constexpr):
    """A product with a number on the device, in float32 until it is stored."""
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x + places, mask=places < size, other=0.0).to(tl.float32) * tl.load(factor)
    tl.store(scaled + places, values.to(scaled.dtype.element_ty), mask=places < size)
