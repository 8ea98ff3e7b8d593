"""SAE training on planted data: sparse combinations of known directions are found again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from saeuron.errors import SaeuronError
from saeuron.evaluation.fit import FitMeter
from saeuron.sae.figures import SAEFigures
from saeuron.sae.files import load_sae, save_sae
from saeuron.sae.formats import Placement
from saeuron.sae.model import SparseAutoencoder
from saeuron.training.evaluation import detection, evaluate, loss_recovered
from saeuron.training.moments import moments_of
from saeuron.training.settings import TrainingSettings
from saeuron.training.sparse import above_threshold, choose, reconstruct
from saeuron.training.trainer import Trainer
from support.planted import D, planted

SETTINGS = TrainingSettings(n=48, k=2, steps=600, batch=512, rate=3e-3, dead_after=5000, seed=1)


def as_pictures(tokens):
    return tokens.view(-1, 2, 50, D)


def trained(settings, tokens, start=None):
    """On random tokens; the trainer and its losses."""
    trainer = Trainer(settings, moments_of(as_pictures(tokens)), start=start)
    generator = torch.Generator().manual_seed(9)
    losses = [
        trainer.step(tokens[torch.randint(len(tokens), (settings.batch,), generator=generator)])
        for _ in range(settings.steps)
    ]
    return trainer, losses


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_planted_directions_are_found(activation):
    tokens, directions = planted(8000)
    trainer, losses = trained(replace(SETTINGS, activation=activation), tokens)
    sae = trainer.sae()
    report = evaluate(sae, as_pictures(tokens))
    assert report.unexplained < 0.1 and losses[-1] < 0.1 < losses[0]
    found = torch.nn.functional.normalize(sae.decoder.weight, dim=1)
    best = (directions @ found.T).max(1).values
    assert best.median() > 0.95
    assert (sae.d, sae.n, sae.k) == (16, 48, 2)
    assert max(report.unexplained_by_step) < 0.11
    assert sae.activation == {"topk": "topk", "batchtopk": "jumprelu"}[activation]
    assert report.features_a_token == pytest.approx(2, rel=0.05)


def test_the_threshold_of_batchtopk_is_the_mean_of_the_smallest_codes_that_batches_kept(monkeypatch):
    tokens, _ = planted(4000)
    settings = replace(SETTINGS, activation="batchtopk", steps=30, unit=0.25)
    smallest = []

    def watch(choice, threshold):
        kept = above_threshold(choice, threshold)
        codes = choice.values.flatten().sort(descending=True).values[: settings.k * settings.batch]
        smallest.append(float(codes[codes > 0].min()))
        return kept

    monkeypatch.setattr("saeuron.training.trainer.above_threshold", watch)
    trainer, _ = trained(settings, tokens)
    sae = trainer.sae()
    assert len(smallest) == 30 and min(smallest) < max(smallest)
    expected = sum(smallest) / 30 / settings.unit
    torch.testing.assert_close(sae.threshold, torch.full((48,), expected), rtol=1e-5, atol=0)
    assert sae.k == settings.k and sae.threshold.isfinite().all()


def test_the_threshold_follows_the_latest_batches():
    """With a rate that moves nothing every batch has nearly the same smallest code."""
    tokens, _ = planted(4000)
    settings = replace(SETTINGS, activation="batchtopk", steps=150, rate=1e-12)
    trainer = Trainer(settings, moments_of(as_pictures(tokens)))
    trainer._threshold.fill_(5.0)
    trainer.done = 120
    trainer.step(tokens[:512])
    first = float(trainer._threshold)
    for _ in range(20):
        trainer.step(tokens[:512])
    own = 5.0 - (5.0 - first) * 100  # a hundredth of the way there
    assert float(trainer._threshold) == pytest.approx(own + (5.0 - own) * 0.99**21, rel=1e-4)


def test_a_batch_that_keeps_nothing_leaves_the_threshold_as_it_is():
    tokens, _ = planted(1000)
    trainer = Trainer(replace(SETTINGS, activation="batchtopk"), moments_of(as_pictures(tokens)))
    trainer.step(tokens[:200])
    before = trainer._threshold.clone()
    with torch.no_grad():
        trainer._coder.encoder_bias -= 1e4
    trainer.step(tokens[:200])
    assert before > 0 and torch.equal(trainer._threshold, before)


def test_batchtopk_is_kept_in_a_file_and_can_be_read_as_topk(tmp_path):
    tokens, _ = planted(4000)
    sae = trained(replace(SETTINGS, activation="batchtopk", steps=100), tokens)[0].sae()
    place = Placement("saeuron-miniature", "mid_block.attentions.0", "output")
    save_sae(tmp_path / "sae.safetensors", sae, place)
    loaded = load_sae(tmp_path / "sae.safetensors")
    assert (loaded.identity.activation, loaded.identity.k) == ("jumprelu", 2)
    assert evaluate(loaded.sae, as_pictures(tokens)) == evaluate(sae, as_pictures(tokens))
    by_token = load_sae(tmp_path / "sae.safetensors", Placement(activation="topk"))
    active = (by_token.sae.encode(tokens).values > 0).sum(-1)
    assert by_token.identity.activation == "topk" and active.max() == 2
    assert (sae.encode(tokens).values > 0).sum(-1).max() > 2


def test_gradients_are_those_of_the_dense_formula():
    generator = torch.Generator().manual_seed(3)
    x, target = torch.randn(2, 50, D, generator=generator, dtype=torch.float64).float()
    weights = [torch.randn(*shape, generator=generator, requires_grad=True) for shape in ((96, D), (96,), (96, D))]
    encoder, bias, decoder = weights
    choice = choose(x, encoder.detach(), bias.detach(), 4)
    (reconstruct(x, encoder, bias, decoder, choice) - target).square().sum().backward()
    sparse = [w.grad for w in weights]

    exact = [w.detach().double().requires_grad_() for w in weights]
    z = x.double() @ exact[0].T + exact[1]
    values, indices = z.topk(4)
    codes = torch.zeros_like(z).scatter(1, indices, values.relu())
    (codes @ exact[2] - target).square().sum().backward()
    for ours, formula in zip(sparse, exact, strict=True):
        assert torch.allclose(ours.double(), formula.grad, rtol=1e-4, atol=1e-3)


def test_choosing_in_bfloat16_gives_values_in_float32():
    generator = torch.Generator().manual_seed(5)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((30, D), (64, D), (64,)))
    exact, coarse = choose(x, weight, bias, 3), choose(x, weight, bias, 3, reduced=True)
    z = x @ weight.T + bias
    assert torch.allclose(coarse.values, z.gather(1, coarse.indices).relu(), atol=1e-5)
    same = exact.indices.sort(1).values == coarse.indices.sort(1).values
    assert same.float().mean() > 0.9


def test_directions_keep_unit_length_and_no_gradient_along_them():
    tokens, _ = planted(2000)
    trainer, _ = trained(replace(SETTINGS, steps=5), tokens)
    decoder = trainer.state()["coder.decoder"]
    assert torch.allclose(decoder.norm(dim=1), torch.ones(48), atol=1e-6)
    assert (trainer._coder.decoder.grad * decoder).sum(1).abs().max() < 1e-3


def test_the_same_seed_gives_the_same_sae():
    tokens, _ = planted(2000)
    short = replace(SETTINGS, steps=20)
    (one, losses), (two, again) = (trained(short, tokens) for _ in range(2))
    first, second = one.sae().state_dict(), two.sae().state_dict()
    assert losses == again and all(torch.equal(first[name], second[name]) for name in first)


def test_unusable_tokens_are_refused():
    tokens, _ = planted(1000)
    with pytest.raises(SaeuronError, match="are the same"):
        moments_of(torch.ones(4, 2, 5, D))
    tokens[3, 3] = float("inf")
    with pytest.raises(SaeuronError, match="not finite"):
        moments_of(as_pictures(tokens))


def test_the_unit_scales_codes_and_changes_no_reconstruction():
    tokens, _ = planted(2000)
    short = replace(SETTINGS, steps=20)
    plain, fine = (trained(replace(short, unit=unit), tokens)[0].sae() for unit in (1.0, 0.25))
    assert torch.allclose(fine.decode(fine.encode(tokens)), plain.decode(plain.encode(tokens)), atol=1e-4)
    assert torch.allclose(fine.encode(tokens).values, plain.encode(tokens).values * 4, rtol=1e-4, atol=1e-4)


def test_a_warm_start_begins_as_the_sae_that_it_is_given():
    tokens, _ = planted(4000)
    start = trained(replace(SETTINGS, steps=200), tokens)[0].sae()
    start.decoder.weight *= 1.7  # published ones need not have unit length
    start.encoder.weight /= 1.7
    start.encoder.bias /= 1.7
    warm = Trainer(SETTINGS, moments_of(as_pictures(tokens)), start=start).sae()
    wanted = start.decode(start.encode(tokens))
    assert torch.allclose(warm.decode(warm.encode(tokens)), wanted, atol=1e-3)
    with pytest.raises(SaeuronError, match="n is 40"):
        Trainer(replace(SETTINGS, n=40), moments_of(as_pictures(tokens)), start=_random_sae(n=48, seed=1))


def _random_sae(n, seed):
    generator = torch.Generator().manual_seed(seed)
    sae = SparseAutoencoder(D, n, 2)
    sae.load_state_dict({name: torch.randn(t.shape, generator=generator) for name, t in sae.state_dict().items()})
    return sae.requires_grad_(False)


def test_dead_features_come_back():
    tokens, _ = planted(4000)
    shares = {}
    for weight in (0.0, 1.0):
        settings = replace(SETTINGS, steps=400, dead_after=1000, aux_k=24, aux_weight=weight)
        trainer = Trainer(settings, moments_of(as_pictures(tokens)))
        with torch.no_grad():
            trainer._coder.encoder_bias[:24] = -2.5  # these never are among the largest
        generator = torch.Generator().manual_seed(9)
        for _ in range(settings.steps):
            trainer.step(tokens[torch.randint(len(tokens), (settings.batch,), generator=generator)])
        shares[weight] = trainer.dead
        assert trainer.dead == pytest.approx(evaluate(trainer.sae(), as_pictures(tokens)).dead, abs=0.1)
    assert shares[1.0] < shares[0.0] - 0.1, shares


def test_what_the_report_counts():
    sae = SparseAutoencoder(2, 3, 1)
    sae.load_state_dict(
        {
            "encoder.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]),
            "encoder.bias": torch.zeros(3),
            "decoder.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]),
            "decoder_bias": torch.zeros(2),
        }
    )
    sae.requires_grad_(False)
    # Two pictures, one step, two tokens: (3, 0) and (0, 0); (3, 1) and (3, 0).
    tokens = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]]], [[[3.0, 1.0], [3.0, 0.0]]]])
    report = evaluate(sae, tokens)
    error = 1.0  # the 1 that k = 1 leaves out
    variance = float((tokens - tokens.mean((0, 1, 2))).square().sum())
    assert report.unexplained == pytest.approx(error / variance)
    assert report.unexplained_by_step == pytest.approx((error / variance,))
    assert report.features_a_token == 0.75
    assert report.figures("m") == SAEFigures(report.unexplained_within_steps, 0.75, report.dead, "m")
    assert report.dead == pytest.approx(2 / 3) and report.always_on == pytest.approx(1 / 3)


def test_the_figures_of_a_file_are_those_that_check_sae_would_measure():
    """Steps with means of their own, which count as explained only in the training's own share."""
    tokens = as_pictures(planted(4000)[0]) + torch.tensor([0.0, 20.0])[:, None, None]
    sae = _random_sae(n=48, seed=1)
    meter = FitMeter(sae, "output", (2.0, 1.0))
    for step, sigma in enumerate((2.0, 1.0)):
        meter.add(sigma, torch.zeros_like(tokens[:, step]), tokens[:, step])
    report, fit = evaluate(sae, tokens), meter.fit()
    assert report.unexplained_within_steps == pytest.approx(fit.unexplained, rel=1e-5)
    assert report.unexplained_within_steps > 1.5 * report.unexplained
    assert report.dead == fit.dead
    assert report.features_a_token == pytest.approx(sum(step.features for step in fit.steps) / 2)


def test_detection_is_measured_on_other_pictures_than_the_feature_was_chosen_on():
    labels = ["cat", "", "cat", "", "cat", "", "cat", ""]
    activity = torch.zeros(8, 3)
    activity[[0, 4], 0] = 5.0  # chosen on these, silent on the other cats
    activity[[2, 6], 1] = 5.0
    assert detection(activity, labels) == {"cat": 0.5}
    activity[[0, 2, 4, 6], 2] = 1.0
    activity[:, :2] = 0
    assert detection(activity, labels) == {"cat": 1.0}
    assert detection(activity, [""] * 8) == {} and detection(activity, ()) == {}


def test_loss_recovered():
    assert loss_recovered(1.0, 1.0, 3.0) == 1 and loss_recovered(1.0, 3.0, 3.0) == 0
    assert loss_recovered(1.0, 1.5, 3.0) == 0.75


@pytest.mark.parametrize("steps", [1, 5, 40, 3000])
def test_the_rate_warms_up_stays_and_falls(steps):
    settings = replace(SETTINGS, steps=steps)
    rates = [settings.rate_at(step) / settings.rate for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates) and max(rates) == 1
    warm, falling = min(100, steps // 10 + 1), int(0.8 * steps)
    assert rates[warm - 1 : falling + 1] == [1] * (falling + 2 - warm)
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[falling:] == sorted(rates[falling:], reverse=True) and rates[-1] <= max(5 / steps, 1e-3)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 49}, {"steps": 0}, {"rate": float("nan")}, {"activation": "relu"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(SaeuronError):
        replace(SETTINGS, **wrong)
