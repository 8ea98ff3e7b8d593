"""Training runs: what batches hold, several SAEs from one pass, shards on disk, and going on after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from saeuron.errors import SaeuronError
from saeuron.sae.files import load_sae
from saeuron.training.activations import Buffer, Stored, split
from saeuron.training.run import Job, RunSettings, TrainingRun
from saeuron.training.shards import StoredShards, shards_in, write_index, write_shard
from support.planted import D, planted_activations
from support.training_process import ENVIRONMENT, JOBS, MID, RUN, SIZES, UP


def numbered(pictures=6, steps=3, of_picture=(4, 10)):
    """Tokens that say which they are: picture, step and place."""

    def tokens(count):
        grid = torch.cartesian_prod(*(torch.arange(size) for size in (pictures, steps, count))).float()
        return grid.view(pictures, steps, count, 3)

    sigmas = tuple(float(steps - step) for step in range(steps))
    few, many = of_picture
    return Stored("saeuron-miniature", "update", sigmas, {MID: tokens(few), UP: tokens(many)})


def test_a_round_gives_every_token_once_and_every_step_alike():
    buffer = Buffer(numbered(of_picture=(4, 4)), 6, 6, 9, seed=1)
    assert buffer.batches_a_round == 8
    batches = [batch[MID] for batch in buffer.batches(0, 8)]
    for batch in batches:
        assert batch[:, 1].long().bincount(minlength=3).tolist() == [3, 3, 3]
    assert len(torch.cat(batches).unique(dim=0)) == 6 * 3 * 4
    assert len(batches[0][:, 0].unique()) > 2  # shuffled over the pictures


def test_of_hookpoints_with_more_tokens_a_part_is_taken():
    buffer = Buffer(numbered(), 6, 6, 12, seed=1)
    batches = list(buffer.batches(0, buffer.batches_a_round))
    assert all(batch[MID].shape == batch[UP].shape == (12, 3) for batch in batches)
    assert len(torch.cat([batch[UP] for batch in batches]).unique(dim=0)) == 72


@pytest.mark.parametrize("prefetch", [True, False])
def test_batches_follow_from_their_number(prefetch):
    whole = [b[MID] for b in Buffer(numbered(), 6, 2, 8, 3, prefetch).batches(0, 20)]
    later = [b[MID] for b in Buffer(numbered(), 6, 2, 8, 3, prefetch).batches(7, 20)]
    assert len(whole) == 20 and all(torch.equal(a, b) for a, b in zip(whole[7:], later, strict=True))
    other = [b[MID] for b in Buffer(numbered(), 6, 2, 8, 4, prefetch).batches(0, 20)]
    assert not all(torch.equal(a, b) for a, b in zip(whole, other, strict=True))
    # Three rounds are an epoch: each picture has been there once.
    assert set(torch.cat(whole[:9])[:, 0].tolist()) == set(range(6))


def test_what_is_too_small_is_refused():
    with pytest.raises(SaeuronError, match="fewer tokens than one batch"):
        Buffer(numbered(), 6, 2, 100, 3)
    with pytest.raises(SaeuronError, match="none is left"):
        split(numbered(), 6)


def test_several_saes_of_one_pass():
    trained = TrainingRun(planted_activations(), JOBS, RUN).run()
    assert [len(one.losses) for one in trained.values()] == [120, 90]
    for one in trained.values():
        assert one.report.unexplained < 0.7 and one.losses[-1] < one.losses[0]
        assert len(one.moments.offsets) == 4 and "third" in one.report.auc
    alone = TrainingRun(planted_activations(), JOBS[:1], RUN).run()
    assert alone[JOBS[0].name].losses == trained[JOBS[0].name].losses


def test_what_does_not_go_together_is_refused():
    with pytest.raises(SaeuronError, match="no activations of"):
        TrainingRun(planted_activations(), [Job("up_blocks.1.attentions.0", SIZES)], RUN)
    with pytest.raises(SaeuronError, match="once"):
        TrainingRun(planted_activations(), [JOBS[0], JOBS[0]], RUN)


def test_shards_give_what_was_recorded(tmp_path):
    activations = planted_activations(pictures=70)
    entries = [write_shard(tmp_path, activations, number, 70) for number in range(shards_in(70))]
    write_index(tmp_path, activations, entries)
    stored = StoredShards(tmp_path)
    assert (stored.pictures, stored.kind, stored.sigmas) == (70, "update", activations.sigmas)
    wanted, found = activations.read([69, 3, 64]), stored.read([69, 3, 64])
    assert all(torch.equal(wanted[name], found[name]) and found[name].dtype == torch.float16 for name in wanted)
    assert [stored.label(picture) for picture in range(4)] == ["third", "", "", "third"]
    trained, from_memory = (TrainingRun(source, JOBS, RUN).run() for source in (stored, activations))
    assert all(trained[name].losses == from_memory[name].losses for name in trained)


def test_a_damaged_shard_is_refused(tmp_path):
    activations = planted_activations(pictures=8)
    write_index(tmp_path, activations, [write_shard(tmp_path, activations, 0, 8)])
    shard = tmp_path / "activations-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    with pytest.raises(SaeuronError, match="damaged"):
        StoredShards(tmp_path).read([0])
    with pytest.raises(SaeuronError, match="no activations"):
        StoredShards(tmp_path / "elsewhere")


@pytest.mark.parametrize("change", [{"file": "../outside.safetensors"}, {"labels": []}, {"pictures": "many"}])
def test_an_index_that_makes_no_sense_is_refused(tmp_path, change):
    activations = planted_activations(pictures=8)
    write_index(tmp_path, activations, [{**write_shard(tmp_path, activations, 0, 8), **change}])
    with pytest.raises(SaeuronError):
        StoredShards(tmp_path)


def test_the_files_of_a_run(tmp_path):
    run = TrainingRun(planted_activations(), JOBS, RUN, tmp_path)
    trained = run.run()
    for job in JOBS:
        sae, identity, figures, *_ = load_sae(run.file(job))
        assert (identity.hookpoint, identity.kind, identity.d) == (job.hookpoint, "update", D)
        assert torch.equal(sae.decoder.weight, trained[job.name].sae.decoder.weight)
        assert figures.unexplained == pytest.approx(trained[job.name].report.unexplained_within_steps, abs=1e-5)
        assert figures.model == "saeuron-miniature"
    ended = TrainingRun(planted_activations(), JOBS, RUN, tmp_path).run()
    assert all(ended[name].losses == trained[name].losses for name in ended)
    with pytest.raises(SaeuronError, match="other settings"):
        TrainingRun(planted_activations(), JOBS, RunSettings(pictures=21, held_out=16), tmp_path)


def test_what_was_best_is_kept_when_a_run_is_ended():
    class Enough(Exception):
        pass

    def watch(progress):
        if progress.done == 100:
            raise Enough

    run = TrainingRun(planted_activations(), JOBS[:1], RUN)
    with pytest.raises(Enough):
        run.run(watch)
    (one,) = run.trained().values()
    assert len(one.losses) == 100 and one.report.unexplained < 1


def test_goes_on_bit_for_bit_after_a_kill(tmp_path):
    command = [sys.executable, "-m", "support.training_process"]
    options = {"env": ENVIRONMENT, "text": True}
    whole = subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True, **options)
    with subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.PIPE, **options) as killed:
        assert any(line == "50\n" for line in killed.stdout)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    again = subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True, **options)
    assert again.stdout.splitlines()[0] in ("40", "70")  # the last checkpoint is of step 30, or, on a slow pipe, 60
    assert json.loads(again.stdout.splitlines()[-1]) == json.loads(whole.stdout.splitlines()[-1])
    files = sorted((tmp_path / "whole").glob("*.safetensors"))
    assert len(files) == len(JOBS)
    for file in files:
        ours, theirs = (
            load_sae(folder / file.name).sae.state_dict() for folder in (tmp_path / "whole", tmp_path / "killed")
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def ended_at(step, activations, folder):
    class Enough(Exception):
        pass

    def watch(progress):
        if progress.done == step:
            raise Enough

    with pytest.raises(Enough):
        TrainingRun(activations, JOBS[:1], RUN, folder).run(watch)


@pytest.mark.parametrize("where", ["held out", "first round", "both"])
def test_does_not_go_on_with_other_activations(tmp_path, where):
    """As when another pack's patch on the model was changed in between: no setting tells it."""
    begun = planted_activations()
    ended_at(40, begun, tmp_path)
    tokens = begun.tokens[MID]
    if where == "held out":
        picture = -3
    else:
        picture = Buffer(begun, len(tokens) - RUN.held_out, RUN.pictures, SIZES.batch, RUN.seed)._picture(4)

    def changed(by, part):
        other = tokens.float()
        other[part] += (
            by * tokens.float().std() * torch.randn(other[part].shape, generator=torch.Generator().manual_seed(1))
        )
        return replace(begun, tokens={**begun.tokens, MID: other.half()})

    part = (slice(None),) if where == "both" else (picture, 2)
    with pytest.raises(SaeuronError, match=r"begun on other activations.*another node on the MODEL"):
        TrainingRun(changed(0.2, part), JOBS[:1], RUN, tmp_path)
    assert TrainingRun(changed(1e-3, part), JOBS[:1], RUN, tmp_path).done == 30, "rounding"
    again = TrainingRun(begun, JOBS[:1], RUN, tmp_path)
    assert again.done == 30 and len(next(iter(again.run().values())).losses) == SIZES.steps


def test_does_not_go_on_with_other_shards(tmp_path):
    """Of which the first round and what is held out may be the same."""
    for folder, seed in (("first", 0), ("second", 1)):
        activations = planted_activations(seed=seed)
        write_index(tmp_path / folder, activations, [
            write_shard(tmp_path / folder, activations, number, 80) for number in range(shards_in(80))
        ])  # fmt: skip
    ended_at(40, StoredShards(tmp_path / "first"), tmp_path / "run")
    with pytest.raises(SaeuronError, match=r"other settings \(shards differ\)"):
        TrainingRun(StoredShards(tmp_path / "second"), JOBS[:1], RUN, tmp_path / "run")
    assert TrainingRun(StoredShards(tmp_path / "first"), JOBS[:1], RUN, tmp_path / "run").done == 30
