"""Looking at a run before anything is replaced in it: it is drawn to its end, and where a gate opened drawn once more.

The second time, all but the place of what is replaced is held at the picture that was seen, with the run's own noise on
it at each step, as in the host's inpainting; so it comes out as it was, and what is replaced is drawn into finished
surroundings. If no gate opened, what was drawn is the picture. What else is on the MODEL acts both times, and is
counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...saeuron.edits.replace import hold_outside
from .replacement_masks import unite
from .replacing import Replaced, ReplacementPatch
from .runs import Run, current_run


class Held(NamedTuple):
    """What a run's second drawing is held at."""

    free: Tensor
    """bool [B, 1, h, w]: what may change."""
    clean: Tensor
    """[B, 4, h, w]: the pictures that were seen."""
    noise: Tensor
    """[B, 4, h, w]: of noise level 1."""


class Look:
    """A run that is looked at: what it began from, and what it has come to."""

    def __init__(self) -> None:
        self._start: tuple[float, Tensor] | None = None
        self._clean: Tensor | None = None
        self.held: Held | None = None

    def see(self, sigma: float, latents: Tensor, denoised: Tensor) -> None:
        """What the model takes `latents` [B, 4, h, w] for at noise level `sigma`."""
        if self._start is None:
            self._start = sigma, latents.clone()
        self._clean = denoised.clone()

    def hold(self, free: Tensor, noise: Tensor) -> None:
        """Draw only what is `free` again; `noise` is what the sampler is given."""
        if self._start is None or self._clean is None:
            return
        if not noise.any():  # such a run goes on from a picture that has its noise already
            sigma, latents = self._start
            noise = (latents - self._clean) / sigma
        self.held = Held(free.to(self._clean.device), self._clean, noise.to(self._clean.device))


class LookFirst:
    """An ``OUTER_SAMPLE`` wrapper inside of `WatchedRun`, for the `patches` that look first."""

    def __init__(self, patches: Sequence[ReplacementPatch]) -> None:
        self._patches = patches

    def __call__(self, executor: Any, noise: Tensor, latent: Tensor, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        run = current_run(guider.model_options["transformer_options"])
        if run is None:
            return executor(noise, latent, *args, **kwargs)
        # The host changes the lists of conditionings, and samplers may take their noise from torch's own state.
        conditionings = {name: list(several) for name, several in guider.conds.items()}
        restore_random_numbers = _random_numbers(guider.model_patcher.load_device)
        run.looking = True
        seen = executor(noise.clone(), latent.clone(), *args, **kwargs)
        free = self._found(run, seen)
        if not free.any():
            run.go_on()
            return seen
        run.begin_again()
        run.kept(Look, Look).hold(free, noise)
        guider.conds = conditionings
        restore_random_numbers()
        again = executor(noise, latent, *args, **kwargs)
        return torch.where(free.to(seen.device), again, seen)

    def _found(self, run: Run, latents: Tensor) -> Tensor:
        """bool [B, 1, h, w]: what may change."""
        decisions = [run.kept(patch, Replaced).decisions for patch in self._patches]
        masks = [{part: own.free for part, own in found.items() if own.weights is not None} for found in decisions]
        return unite(masks, latents).unsqueeze(1) > 0


def see_or_hold(
    executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """A ``PREDICT_NOISE`` wrapper: notes what is seen while it is looked, and holds what is held afterwards."""
    run = current_run(model_options.get("transformer_options", {}))
    look = None if run is None else run.kept(Look, Look)
    if run is None or look is None or not (run.looking or look.held):
        return executor(x, timestep, model_options, *args, **kwargs)
    sigma = float(timestep.flatten()[0])
    if look.held is None:
        denoised = executor(x, timestep, model_options, *args, **kwargs)
        look.see(sigma, x, denoised)
        return denoised
    held = look.held
    denoised = executor(hold_outside(x, *held, sigma), timestep, model_options, *args, **kwargs)
    return torch.where(held.free, denoised, held.clean)


def _random_numbers(device: torch.device) -> Callable[[], None]:
    """Puts torch's random numbers back to where they are now, on the CPU and on `device`."""
    on_cpu = torch.get_rng_state()
    module = None if device.type == "cpu" else getattr(torch, device.type, None)
    on_device = module.get_rng_state() if module is not None and hasattr(module, "get_rng_state") else None

    def restore() -> None:
        torch.set_rng_state(on_cpu)
        if module is not None and on_device is not None:
            module.set_rng_state(on_device)

    return restore
