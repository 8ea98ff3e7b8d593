"""One SAE while it is trained (Gao et al., arXiv 2406.04093): the loss, its gradients, and which features are dead."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SaeuronError
from ..sae.model import JUMPRELU, TOPK, SparseAutoencoder
from .moments import Moments
from .processes import ALONE, Processes
from .settings import TrainingSettings
from .sparse import Choice, above_threshold, choose, reconstruct

BETAS = (0.9, 0.99)

THRESHOLD_OVER = 100
"""Batches. A ``batchtopk`` SAE's threshold is the mean over those so far, and once there were as many a moving one, in
which the latest counts one part in so many: early batches chose with other weights."""


class _Coder(nn.Module):
    """Centred, scaled tokens [b, d] -> the error of their reconstruction, and what dead features make of it."""

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        self.decoder = nn.Parameter(directions)
        # The encoder begins as the decoder's transpose: few features are born dead.
        self.encoder = nn.Parameter(directions.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(len(directions), device=directions.device))
        self.decoder_bias = nn.Parameter(torch.zeros(directions.shape[1], device=directions.device))

    def forward(self, x: Tensor, choice: Choice, dead: Tensor, aux_k: int) -> tuple[Tensor, Tensor | None]:
        """Error [b, d], and what `dead` features [m], `aux_k` for each token, make of it, [b, d]."""
        error = x - reconstruct(x, self.encoder, self.encoder_bias, self.decoder, choice) - self.decoder_bias
        if not len(dead):
            return error, None
        own = self.encoder[dead], self.encoder_bias[dead]
        with torch.no_grad():
            revived = choose(x, *own, min(aux_k, len(dead)))
        return error, reconstruct(x, *own, self.decoder[dead], revived)


class Trainer:
    """Trains on the tokens that `step` is given, on their device.

    `moments` are those of the tokens; they are folded into the weights of `sae`. `start` is an SAE to go on from.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        moments: Moments,
        device: torch.device | str = "cpu",
        start: SparseAutoencoder | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.settings, self.moments, self.done = settings, moments, 0
        self._processes = processes
        self._centre = moments.centre.to(device)
        coder = _Coder(_directions(settings, self._centre))
        if start is not None:
            coder.load_state_dict(_unfolded(start, settings, self._centre, moments.deviation))
        self._coder = coder
        optimizer = torch.optim.Adam(coder.parameters(), lr=settings.rate, betas=BETAS, fused=_can_be_fused(device))
        self._module, self._optimizer = processes.prepare(coder, optimizer)
        self._silent_for = torch.zeros(settings.n, dtype=torch.int64, device=device)
        self._threshold = torch.zeros((), device=device)
        """Of a ``batchtopk`` SAE, in the trainer's own units (`sae`)."""
        self._reduced = multiplies_bfloat16_fast(torch.device(device))

    @property
    def dead(self) -> float:
        """Share of features that have fired on none of the last `dead_after` tokens."""
        return float((self._silent_for > self.settings.dead_after).double().mean())

    def step(self, tokens: Tensor) -> float:
        """Learn from tokens [b, d]; the loss, in the tokens' variance: 1 is what their mean alone would leave.

        Of several processes each is given its own part of a batch, all of the same size.
        """
        settings, processes = self.settings, self._processes
        x = (tokens.to(self._centre) - self._centre) / self.moments.deviation
        choice = self._choose(x)
        dead = (self._silent_for > settings.dead_after).nonzero().squeeze(-1)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate_at(self.done)
        self._optimizer.zero_grad()
        error, revived = self._module(x, choice, dead, settings.aux_k)
        loss = error.square().mean()
        everywhere = processes.mean(loss.detach())
        if revived is not None:
            left = (error.detach() - revived).square().mean() / everywhere.clamp(min=1e-12)
            loss = loss + settings.aux_weight * left
        processes.backward(loss)
        self._update()
        self._count(choice, len(tokens) * processes.count)
        self.done += 1
        return float(everywhere)

    @torch.no_grad()
    def _choose(self, x: Tensor) -> Choice:
        coder, settings = self._coder, self.settings
        choice = choose(x, coder.encoder, coder.encoder_bias, settings.candidates, self._reduced)
        if settings.activation == "topk":
            return choice
        every = self._processes.gather(choice.values).flatten()
        kept = every.topk(min(settings.k * len(every) // settings.candidates, len(every))).values
        self._follow_threshold(kept)
        return above_threshold(choice, kept[-1])

    def _follow_threshold(self, kept: Tensor) -> None:
        """`kept` are the codes that a batch keeps. Where none is above 0 the threshold stays."""
        smallest = torch.where(kept > 0, kept, torch.inf).min()
        part = 1 / min(self.done + 1, THRESHOLD_OVER)
        self._threshold.lerp_(torch.where(smallest.isfinite(), smallest, self._threshold), part)

    @torch.no_grad()
    def _update(self) -> None:
        decoder = self._coder.decoder
        assert decoder.grad is not None
        # Directions keep unit norm, so only the gradient across them counts.
        parallel = torch.einsum("nd,nd->n", decoder.grad, decoder)
        decoder.grad.addcmul_(decoder, parallel.unsqueeze(1), value=-1)
        self._optimizer.step()
        decoder.div_(torch.linalg.vector_norm(decoder, dim=1, keepdim=True))

    @torch.no_grad()
    def _count(self, choice: Choice, tokens: int) -> None:
        fired = torch.zeros(self.settings.n, device=choice.values.device)
        fired[choice.indices[choice.values > 0]] = 1.0
        self._silent_for += tokens
        self._silent_for[self._processes.mean(fired) > 0] = 0

    @torch.no_grad()
    def sae(self) -> SparseAutoencoder:
        """What has been learned so far, on the CPU, for tokens as they are.

        One of ``batchtopk`` is JumpReLU with one threshold for all features, the mean over batches of the smallest code
        above 0 that each kept (Bussmann et al., arXiv 2412.06410, the threshold at inference): a token's code then does
        not depend on the others'. It knows its k, and can be read as TopK instead.
        """
        coder, scale = self._coder, self.moments.deviation
        batched = self.settings.activation == "batchtopk"
        offset = self._centre + scale * coder.decoder_bias
        weight = coder.encoder / (scale * self.settings.unit)
        activation = JUMPRELU if batched else TOPK
        sae = SparseAutoencoder(offset.shape[0], self.settings.n, self.settings.k, activation=activation)
        state = {
            "encoder.weight": weight,
            "encoder.bias": coder.encoder_bias / self.settings.unit - weight @ self._centre,
            "decoder.weight": coder.decoder * scale * self.settings.unit,
            "decoder_bias": offset,
        }
        if batched:
            state["threshold"] = (self._threshold / self.settings.unit).expand(self.settings.n)
        sae.load_state_dict(state)
        return sae.eval().requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        """All that the next steps depend on, on the CPU."""
        tensors = {f"coder.{name}": tensor for name, tensor in self._coder.state_dict().items()}
        for number, kept in self._optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": tensor for name, tensor in kept.items()}
        return {name: tensor.detach().cpu() for name, tensor in tensors.items()} | {
            "silent_for": self._silent_for.cpu(),
            "threshold": self._threshold.cpu(),
            "done": torch.tensor(self.done),
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where a trainer with the same settings was when it gave `tensors`.

        Errors: `SaeuronError` if they are not of such a trainer.
        """
        adam: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, number, part = name.split(".")
                adam.setdefault(int(number), {})[part] = tensor
        try:
            self._coder.load_state_dict({name: tensors[f"coder.{name}"] for name in self._coder.state_dict()})
            optimizer = self._optimizer.state_dict()
            self._optimizer.load_state_dict({**optimizer, "state": adam})
            self._silent_for.copy_(tensors["silent_for"])
            self._threshold.copy_(tensors["threshold"])
            self.done = int(tensors["done"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise SaeuronError(f"The checkpoint is not one of this training: {error}") from error


def multiplies_bfloat16_fast(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32 there."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and bool(supported())


def _can_be_fused(device: torch.device | str) -> bool:
    return torch.device(device).type in ("cpu", "cuda")


def _directions(settings: TrainingSettings, centre: Tensor) -> Tensor:
    """Unit vectors [n, d], the same on every device."""
    generator = torch.Generator().manual_seed(settings.seed)
    return F.normalize(torch.randn(settings.n, len(centre), generator=generator), dim=1).to(centre)


def _unfolded(
    sae: SparseAutoencoder, settings: TrainingSettings, centre: Tensor, deviation: float
) -> dict[str, Tensor]:
    """The weights with which a trainer's own codes, in its units, are those of `sae`.

    Errors: `SaeuronError` if `sae` has another size.
    """
    if (sae.n, sae.d) != (settings.n, len(centre)):
        raise SaeuronError(
            f"The SAE to begin from has n {sae.n} and d {sae.d}; here n is {settings.n} and the block {len(centre)} "
            "wide. Choose the same n and the hookpoint that it was trained at."
        )
    weights = {name: tensor.to(centre) for name, tensor in sae.state_dict().items()}
    encoder, decoder = weights["encoder.weight"], weights["decoder.weight"]
    length = torch.linalg.vector_norm(decoder, dim=1).clamp(min=1e-12)
    return {
        "encoder": encoder * length.unsqueeze(1),
        "encoder_bias": (weights["encoder.bias"] + encoder @ centre) * length / deviation,
        "decoder": decoder / length.unsqueeze(1),
        "decoder_bias": (weights["decoder_bias"] - centre) / deviation,
    }
