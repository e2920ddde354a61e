"""The base of everything that is read from a recipe file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Values that cannot be changed once validated; a key that is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
