"""An experiment with a nested configuration, for the tests of its form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr

from experiments import Experiment, Retry, RunContext


class Layer(BaseModel):
    """One layer of the network."""

    units: int = Field(8, ge=1, le=1024, description="Neurons")
    activation: Literal["relu", "tanh"] = "relu"
    key: SecretStr | None = None


class Adam(BaseModel):
    kind: Literal["adam"] = "adam"
    beta: float = Field(0.9, gt=0, lt=1)


class Sgd(BaseModel):
    kind: Literal["sgd"] = "sgd"
    momentum: float = 0.5


class Layered(Experiment):
    """Say of which layers a network would be made.

    Nothing is learnt:
    - a line for each layer,
    - and that is all.
    """

    name = "layered"
    title = "Layers <b>of</b> a network"
    retries = {"error": Retry(times=1)}

    class Config(BaseModel):
        epochs: int = Field(3, ge=1, le=100, title="Passes", description="Over the data")
        shuffle: bool = True
        token: SecretStr = SecretStr("by default")
        layers: list[Layer] = Field(default_factory=lambda: [Layer(), Layer(units=16)], min_length=1)
        optimizer: Annotated[Adam | Sgd, Field(discriminator="kind")] = Adam()
        note: str | None = None
        weights: dict[str, float] = {}

    def run(self, ctx: RunContext[Config]) -> dict[str, Any]:
        for layer in ctx.track(ctx.config.layers, "Building"):
            ctx.log.info(f"a layer of {layer.units}")
        return {"layers": len(ctx.config.layers)}
