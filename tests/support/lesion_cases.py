"""Small lesions whose metrics are known by hand, by several rules of BraTS."""

from __future__ import annotations

import numpy as np

SIZE = (48, 48, 48)
LONG = ((10, 20), (10, 20))


def cube(n, x, y, z):
    return (x, x + n), (y, y + n), (z, z + n)


def label_map(*boxes, value=3):
    """A label map with boxes `(x, y, z)` of half-open ranges; a box may come with its own value."""
    array = np.zeros(SIZE, np.uint8)
    for box in boxes:
        box, of_box = box if isinstance(box[1], int) else (box, value)
        array[tuple(slice(*extent) for extent in box)] = of_box
    return array


A, B, FAR = cube(10, 10, 10, 10), cube(10, 5, 5, 5), cube(10, 30, 30, 30)
LARGE = cube(5, 35, 35, 35)
SMALL = cube(2, 35, 35, 35)
RC = [((x, x + 8), (10, 18), (10, 18)) for x in (5, 21)]

# reference, prediction, then (found/missed/false, Dice, HD95) by the rules of 2024 and of 2025 (None: the same), and
# NSD at 0.5 and 1 mm; by hand where a case has one lesion, from a second program written from the rules otherwise
CASES = {
    "equal": ([A], [A], ("1/0/0", 1, 0), None, (1, 1)),
    "shifted": ([A], [cube(10, 12, 10, 10)], ("1/0/0", 0.8, 2), None, (0.590164, 0.721311)),
    "missed": ([B, FAR], [B], ("1/1/0", 0.5, 187), ("1/1/0", 0.5, 168.5), (0.5, 0.5)),
    "false": ([B], [B, LARGE], ("1/0/1", 0.5, 187), ("1/0/1", 0.5, 168.5), (0.5, 0.5)),
    "split": ([((5, 25), *LONG)], [((5, 13), *LONG), ((15, 25), *LONG)],
              ("1/0/0", 18 / 19, 2), None, (0.886751, 0.960177)),
    "merged": ([((5, 13), *LONG), ((25, 35), *LONG)], [((5, 35), *LONG)],
               ("2/0/0", (8 / 19 + 0.5) / 2, 21), None, (0.589348, 0.635419)),
    "both empty": ([], [], ("0/0/0", 1, 0), None, (1, 1)),
    "reference empty": ([], [A], ("0/0/1", 0, 374), ("0/0/1", 0, 337), (0, 0)),
    "prediction empty": ([A], [], ("0/1/0", 0, 374), ("0/1/0", 0, 337), (0, 0)),
    "small one missed": ([B, SMALL], [B], ("1/0/0", 1, 0), None, (1, 1)),
    "joined by growing": ([((5, 15), *LONG), ((19, 29), *LONG)], [((5, 15), *LONG)],
                          ("1/0/0", 2 / 3, 14), None, (0.75, 0.75)),
    "near without overlap": ([A], [((22, 32), *LONG)], ("1/0/0", 0, 12), None, (0, 0)),
    "corner": ([cube(5, 10, 10, 10), cube(5, 15, 15, 15)], [cube(5, 10, 10, 10), cube(5, 15, 15, 15)],
               ("1/0/0", 1, 0), None, (1, 1)),
    "only a small one missed": ([SMALL], [], ("0/0/0", 1, 0), None, (1, 1)),
    "small one and a false one": ([SMALL], [B], ("0/0/1", 0, 374), ("0/0/1", 0, 337), (0, 0)),
    "two shifted": ([cube(10, 0, 0, 0), cube(6, 20, 20, 20)], [cube(10, 1, 0, 0), cube(6, 22, 20, 20)],
                    ("2/0/0", 0.7833333, 1.5), None, (0.595125, 0.868421)),
    "one joined, one false": ([((5, 15), *LONG), ((17, 27), *LONG)], [((8, 18), *LONG), ((30, 35), *LONG)],
                              ("1/0/1", 1600 / 3000 / 2, 191.5), ("1/0/1", 1600 / 3000 / 2, 173), (0.270492, 0.347336)),
    "speck within reach": ([A], [A, ((22, 24), (10, 12), (10, 12))], ("1/0/0", 2000 / 2008, 0), None,
                           (0.991935, 0.991935)),
    "larger speck": ([A], [A, ((22, 25), (10, 13), (10, 13))], ("1/0/0", 2000 / 2027, 3), None, (0.974708, 0.974708)),
}  # fmt: skip
