"""What is asked of the machine has an answer on every system."""

from __future__ import annotations

import os

from nndistill.datasets.preparation.dataset_check import processors
from nndistill.runtime.machine import usable_cores


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    assert usable_cores() == processors() == 3


def test_cores_are_all_of_them_where_the_system_does_not_tell_which_may_be_used(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 24)
    assert usable_cores() == 24
    assert processors() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == processors() == 1
