"""From a configuration to the rule of signal propagation: every option by its name."""

from __future__ import annotations

from spikeprop import losses
from spikeprop.config import TrainConfig
from spikeprop.contrast import BatchContrast, Maximum, RandomMaximum, SoftDistance, TopK
from spikeprop.evidence import Leaky, evidence_of
from spikeprop.homeostasis import Homeostasis
from spikeprop.rules import SigProp
from spikeprop.smooth import ATan, FastSigmoid, Sigmoid, Smooth
from spikeprop.time_codes import Constant, Latency, Pattern, Phases, Rate, TimeCode

__all__ = ["sigprop_of"]


def sigprop_of(config: TrainConfig, num_classes: int) -> SigProp:
    """Build the rule that a configuration of ``rule="sigprop"`` describes."""
    local_losses: dict[str, losses.LocalLoss] = {
        "cosine": losses.Cosine(tau=config.tau),
        "dot": losses.Dot(),
        "squared-distance": losses.SquaredDistance(),
        "contrast-maximum": BatchContrast(Maximum(), config.tau, cosine=True),
        "contrast-random": BatchContrast(RandomMaximum(), config.tau, cosine=True),
        "contrast-top-k": BatchContrast(TopK(config.top_k), config.tau, cosine=True),
        "contrast-soft": BatchContrast(SoftDistance(), config.tau, cosine=True),
    }
    smooth: dict[str | None, Smooth | None] = {
        None: None,
        "atan": ATan(),
        "fast-sigmoid": FastSigmoid(),
        "sigmoid": Sigmoid(),
    }
    codings: dict[str, TimeCode] = {
        "constant": Constant(),
        "rate": Rate(config.coding_period),
        "latency": Latency(config.coding_period),
        "pattern": Pattern(config.coding_period),
    }
    coding = codings.get(config.coding) or Phases(config.coding_period, config.phases)
    leaky = config.evidence == "leaky"
    evidence = Leaky(config.newest) if leaky else evidence_of(config.evidence)
    homeostasis = None
    if config.homeostasis is not None:
        homeostasis = Homeostasis(target=config.homeostasis, gain=config.homeostasis_gain)
    return SigProp(
        num_classes,
        loss=local_losses[config.loss],
        evidence=evidence,
        rectify=config.rectify,
        smooth=smooth[config.smooth],
        signal=config.signal,
        signal_scale=config.signal_scale,
        coding=coding,
        placement=config.placement,
        signal_steps=config.signal_steps,
        labels=config.class_signals,
        readout=config.readout,
        homeostasis=homeostasis,
        predict_from=config.predict_from,
        potential=config.potential,
    )
