"""The kernel of `separable`."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _matrix(table, block, blocks, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """One block of a table, `(ROWS, COLUMNS)`."""
    first = table + block * ROWS * COLUMNS
    return tl.load(first + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :])


@triton.jit
def separable_kernel(
    first_input, second_input, centres, first_output, second_output, energy,
    n_z, n_y, n_x, m_z, m_y, m_x,
    z_starts, z_lengths, z_table, rows_z, blocks_z,
    y_starts, y_lengths, y_table, rows_y, blocks_y,
    x_starts, x_lengths, x_table, rows_x, blocks_x,
    blocks_per_program,
    TERMS: tl.constexpr, SPLIT: tl.constexpr, INPUTS: tl.constexpr, CENTRED: tl.constexpr, ENERGY: tl.constexpr,
    MARCHES: tl.constexpr,
    KZ: tl.constexpr, WZ: tl.constexpr, KY: tl.constexpr, WY: tl.constexpr, KX: tl.constexpr, WX: tl.constexpr,
):  # fmt: skip
    """One channel, one block of y and of x, some blocks of z one after the other.

    The march along z reads each plane once: it is filtered along x and y and added, with its weights, to the block of z
    that is being made and to the next one.
    """
    channel = tl.program_id(0).to(tl.int64)
    block_y = tl.program_id(2) // blocks_x
    block_x = tl.program_id(2) % blocks_x
    in_y, in_x = tl.arange(0, WY), tl.arange(0, WX)
    y = (tl.load(y_starts + block_y) + n_y + in_y) % n_y
    x = (tl.load(x_starts + block_x) + n_x + in_x) % n_x
    window = (in_y < tl.load(y_lengths + block_y))[:, None] & (in_x < tl.load(x_lengths + block_x))[None, :]
    in_plane = y[:, None] * n_x + x[None, :]
    centre = 0.0
    if CENTRED:
        centre = tl.load(centres + channel)

    along_y0 = _matrix(y_table, block_y, blocks_y, KY, WY)
    along_x0 = _matrix(x_table, block_x, blocks_x, KX, WX)
    along_y1, along_x1 = along_y0, along_x0
    along_y2, along_x2 = along_y0, along_x0
    along_y3, along_x3 = along_y0, along_x0
    if TERMS > 1:
        along_y1 = _matrix(y_table, blocks_y + block_y, blocks_y, KY, WY)
        along_x1 = _matrix(x_table, blocks_x + block_x, blocks_x, KX, WX)
    if TERMS > 2:
        along_y2 = _matrix(y_table, 2 * blocks_y + block_y, blocks_y, KY, WY)
        along_x2 = _matrix(x_table, 2 * blocks_x + block_x, blocks_x, KX, WX)
    if TERMS > 3:
        along_y3 = _matrix(y_table, 3 * blocks_y + block_y, blocks_y, KY, WY)
        along_x3 = _matrix(x_table, 3 * blocks_x + block_x, blocks_x, KX, WX)

    in_z = tl.arange(0, KZ)
    nothing = tl.zeros((KZ,), tl.int32)
    row_y, row_x = block_y * rows_y + tl.arange(0, KY), block_x * rows_x + tl.arange(0, KX)
    kept_y = (tl.arange(0, KY) < rows_y) & (row_y < m_y)
    kept_x = (tl.arange(0, KX) < rows_x) & (row_x < m_x)

    now0 = tl.zeros((KZ, KY, KX), tl.float32)
    next0 = tl.zeros((KZ, KY, KX), tl.float32)
    now1, next1 = now0, next0
    total = 0.0
    passed = -2 * n_z
    first_block = tl.program_id(1) * blocks_per_program
    last_block = tl.minimum(first_block + blocks_per_program, blocks_z)
    for block in range(first_block, last_block):
        start = tl.load(z_starts + block)
        length = tl.load(z_lengths + block)
        end = start + length
        following = tl.minimum(block + 1, last_block - 1)
        next_start = tl.load(z_starts + following)
        next_length = tl.load(z_lengths + following) * (following - block)
        for z in range(tl.maximum(start, passed), end):
            plane = (z + n_z) % n_z
            offsets = (channel * n_z + plane) * n_y * n_x + in_plane
            values = tl.load(first_input + offsets, mask=window, other=0.0).to(tl.float32)
            if CENTRED:
                values = tl.where(window, values - centre, 0.0)
            to_now_at, to_next_at = z - start + nothing, z - next_start + nothing
            now_there = to_now_at < length
            next_there = (to_next_at >= 0) & (to_next_at < next_length)
            for term in tl.static_range(TERMS):
                of_term = values
                along_y, along_x = along_y0, along_x0
                if term == 1:
                    along_y, along_x = along_y1, along_x1
                    if INPUTS == 2:
                        of_term = tl.load(second_input + offsets, mask=window, other=0.0).to(tl.float32)
                if term == 2:
                    along_y, along_x = along_y2, along_x2
                if term == 3:
                    along_y, along_x = along_y3, along_x3
                lines = tl.dot(of_term, tl.trans(along_x), input_precision="ieee")
                filtered = tl.dot(along_y, lines, input_precision="ieee")[None, :, :]
                now_row = z_table + ((term * blocks_z + block) * KZ + in_z) * WZ
                to_now = tl.load(now_row + to_now_at, mask=now_there, other=0.0)[:, None, None]
                if term < SPLIT:
                    now0 += to_now * filtered
                else:
                    now1 += to_now * filtered
                if MARCHES:
                    next_row = z_table + ((term * blocks_z + following) * KZ + in_z) * WZ
                    to_next = tl.load(next_row + to_next_at, mask=next_there, other=0.0)[:, None, None]
                    if term < SPLIT:
                        next0 += to_next * filtered
                    else:
                        next1 += to_next * filtered
        row_z = block * rows_z + in_z
        kept_z = (in_z < rows_z) & (row_z < m_z)
        kept = kept_z[:, None, None] & kept_y[None, :, None] & kept_x[None, None, :]
        places = ((channel * m_z + row_z)[:, None, None] * m_y + row_y[None, :, None]) * m_x + row_x[None, None, :]
        if ENERGY:
            total += tl.sum(tl.where(kept, now0 * now1, 0.0))
        else:
            tl.store(first_output + places, now0.to(first_output.dtype.element_ty), mask=kept)
            if SPLIT < TERMS:
                tl.store(second_output + places, now1.to(second_output.dtype.element_ty), mask=kept)
        if MARCHES:
            now0, now1 = next0, next1
            next0, next1 = next0 * 0.0, next1 * 0.0
        passed = tl.maximum(end, passed)
    if ENERGY:
        programs = tl.num_programs(1) * tl.num_programs(2)
        tl.store(energy + (channel * programs + tl.program_id(1) * tl.num_programs(2) + tl.program_id(2)), total)
