"""The scorer `flow`: laws of the flow itself, and of a set that it scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor
from torch.testing import assert_close

from curate.errors import CouldNotFinish, UsageError
from curate.records import MOST_POSITION_COST, Alignment, Embeddings, PatchesInMemory, Scores
from curate.scores.base import NO_GUIDE, Guide
from curate.scores.flow import ABLATIONS, RAD, Flow, FlowConfig, Granularity, Query
from curate.scores.folds import group_folds
from curate.scores.position_gaussians import SHRINKAGES, fit_gaussians, image_nll, sum_patches
from curate.scores.positions import ReferenceGrid, positions_of
from curate.scores.published.rad.coupling_flow import CouplingFlow, nll
from tests.scores.watched import Watched

WIDTH, ROWS, COLUMNS = 8, 5, 6
QUICK = replace(RAD, steps=12, batch=64, hidden=16)


def stirred(width: int, condition: int = 0, seed: int = 0) -> CouplingFlow:
    """Return a flow in float64 whose weights are far from its start."""
    flow = CouplingFlow(width, condition, blocks=3, hidden=16, clamp=2.0, rng=np.random.default_rng(seed)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in flow.parameters():
            if weight.requires_grad:
                weight.add_(0.5 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
        for block in flow.blocks:  # in float64, so is the rotation
            block.w_perm.copy_(torch.linalg.qr(block.w_perm)[0])
            block.w_perm_inv.copy_(block.w_perm.T)
    return flow


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("condition", [None, normal(20, 3)], ids=["alone", "with a condition"])
def test_the_flow_inverts(condition: Tensor | None):
    flow, x = stirred(5, 0 if condition is None else 3), normal(20, 5)
    z, log_det = flow(x, condition)
    again, back = flow(z, condition, rev=True)
    assert_close((again, back), (x, -log_det), rtol=1e-8, atol=1e-8)


def test_the_log_determinant_equals_autograds():
    flow, x = stirred(4), normal(6, 4)
    _, log_det = flow(x)
    for row in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda one: flow(one[None])[0][0], x[row])
        assert_close(log_det[row], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-8, atol=1e-8)


def test_the_density_integrates_to_one_in_two_dimensions():
    flow = stirred(2)
    axis = torch.linspace(-30, 30, 1201, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = (-2 * nll(flow, flow.learnt(), points)).exp()
    assert float(density.sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=2e-3)


def test_before_the_first_step_a_likelihood_is_that_of_a_standard_normal():
    flow = CouplingFlow(6, blocks=2, hidden=8, clamp=2.0, rng=np.random.default_rng(0))
    x = normal(30, 6).float()
    expected = -torch.distributions.Normal(0, 1).log_prob(x).mean(dim=1)
    assert_close(nll(flow, flow.learnt(), x), expected, rtol=1e-4, atol=1e-4)


def test_building_a_flow_leaves_the_global_generators_alone():
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    flows = [CouplingFlow(6, blocks=2, hidden=8, clamp=2.0, rng=np.random.default_rng(3)) for _ in range(2)]
    assert_array_equal(np.random.get_state()[1], before[0])
    assert_array_equal(torch.random.get_rng_state(), before[1])
    assert_close(flows[0].state_dict(), flows[1].state_dict(), rtol=0, atol=0)


def drawn(count: int, planted: tuple[int, ...] = (), seed: int = 0) -> list[np.ndarray]:
    """Return images of one part: each position has its own appearance, each planted image one anomalous patch."""
    rng = np.random.default_rng(seed)
    part = rng.normal(size=(ROWS * COLUMNS, WIDTH))
    images = [part + 0.2 * rng.normal(size=part.shape) for _ in range(count)]
    for image in planted:
        images[image][rng.integers(len(part))] += 2 * rng.normal(size=WIDTH)
    return [image.astype(np.float16) for image in images]


def embedded(images: list[np.ndarray]) -> Embeddings:
    return Embeddings(
        images=np.arange(len(images)),
        grids=np.array([(len(image) // COLUMNS, COLUMNS) for image in images]),
        pooled=np.stack([image.astype(np.float32).mean(axis=0) for image in images]),
        stages=(slice(0, WIDTH),),
        source=PatchesInMemory(images),
        width=WIDTH,
    )


def scored(
    images: list[np.ndarray], config: FlowConfig = QUICK, groups: np.ndarray | None = None, guide: Guide = NO_GUIDE
) -> Scores:
    groups = np.arange(len(images)) if groups is None else groups
    return Flow(config=config).score(embedded(images), groups, guide=guide)


@pytest.mark.parametrize("name", [name for name in ABLATIONS if "image" not in name and "position" not in name])
def test_every_variant_puts_planted_anomalies_first(name: str):
    planted = (3, 17, 31)
    config = replace(ABLATIONS[name], steps=12, batch=64)
    assert set(np.argsort(-scored(drawn(40, planted), config).values)[:3]) == set(planted)


def test_the_map_peaks_where_the_anomaly_was_planted_also_with_uneven_grids():
    images = drawn(20)
    images[2], images[7] = images[2][: 4 * COLUMNS], np.concatenate([images[7], images[7][:COLUMNS]])
    images[4][13] += np.float16(3)
    scores = scored(images)
    assert scores.maps[4].argmax() == 13
    assert [m.shape for m in scores.maps[:8:5]] == [(5, 6), (5, 6)]
    assert (scores.maps[2].shape, scores.maps[7].shape) == ((4, 6), (6, 6))


def test_image_granularity_finds_an_image_that_is_anomalous_as_a_whole():
    images = drawn(40)
    images[9] = (images[9] + np.float16(1)).astype(np.float16)
    scores = scored(images, replace(QUICK, granularity=Granularity.IMAGE))
    assert scores.values.argmax() == 9
    assert (scores.maps[9] == scores.values[9]).all()
    assert scores.maps[9].shape == (ROWS, COLUMNS)


def test_equal_seeds_give_equal_bytes_and_the_global_generators_do_not_matter():
    images = drawn(24, (5,))
    np.random.seed(1)
    torch.manual_seed(1)
    first = scored(images)
    np.random.seed(2)
    torch.manual_seed(2)
    assert scored(images).values.tobytes() == first.values.tobytes()
    assert scored(images, replace(QUICK, seed=1)).values.tobytes() != first.values.tobytes()


def test_nan_is_refused_and_the_image_is_named():
    images = drawn(12)
    images[7][3, 2] = np.nan
    with pytest.raises(CouldNotFinish, match="descriptors of image 7 hold NaN"):
        scored(images)


@pytest.mark.parametrize(("count", "few"), [(2, True), (3, True), (9, True), (16, False)])
def test_a_few_images_are_scored_and_a_note_says_so(count: int, few: bool):
    scores = scored(drawn(count))
    assert np.isfinite(scores.values).all()
    assert ("note" in scores.facts) == few


def test_one_image_and_a_single_leakage_group_score_nothing_and_a_note_says_so():
    for images, groups in ((drawn(1), np.zeros(1, dtype=np.int64)), (drawn(5), np.zeros(5, dtype=np.int64))):
        scores = scored(images, groups=groups)
        assert not scores.values.any()
        assert "one leakage group" in scores.facts["note"]


@pytest.mark.parametrize("granularity", list(Granularity))
def test_constant_features_survive_and_nobody_stands_out(granularity: Granularity):
    scores = scored([np.full((ROWS * COLUMNS, WIDTH), 0.5, np.float16)] * 16, replace(QUICK, granularity=granularity))
    assert np.isfinite(scores.values).all()
    assert_allclose(scores.values, scores.values[0], atol=0.1)


def test_a_model_has_not_seen_the_images_that_it_scores_nor_their_leakage_group():
    images, groups = drawn(24), np.arange(24)
    images[3][8] += np.float16(4)
    alone = scored(images, groups=groups).values[3]
    copies, copy_groups = [*images, *[images[3]] * 8], np.concatenate([groups, np.full(8, 3)])
    assert scored(copies, groups=copy_groups).values[3] > 0.5 * alone
    assert scored(copies, replace(QUICK, out_of_fold=False), groups=copy_groups).values[3] < 0.5 * alone


def test_whole_leakage_groups_lie_in_one_fold_and_folds_are_even():
    groups = np.concatenate([np.zeros(7, dtype=np.int64), np.arange(30)])
    folds = group_folds(groups, 4, np.random.default_rng(0))
    assert len(set(folds[groups == 0])) == 1
    assert np.ptp(np.bincount(folds)) <= 1
    assert group_folds(np.array([5, 5, 9]), 4, np.random.default_rng(0)).max() == 1


def test_rejected_images_are_not_learnt_from_and_are_scored_all_the_same():
    images = drawn(30)
    for image in range(12):
        images[image][8] += np.float16(2)  # a defect that many repeat
    nominal = np.arange(30) >= 12
    guided, unguided = scored(images, guide=Guide(nominal=nominal)).values, scored(images).values
    assert np.ptp(guided[12:]) < guided[:12].min() - guided[12:].max()
    assert guided[:12].mean() > 2 * unguided[:12].mean()


def test_a_guide_gives_the_meta_set_and_the_model_to_start_from():
    images = drawn(24)
    first = scored(images)
    again = scored(images, guide=Guide(meta_set=np.arange(5), model=first.model))
    assert (first.facts["meta_set"]["given"], again.facts["meta_set"]) == (False, {"images": 5, "given": True})
    assert len(again.facts["flows"][0]["lambda"]) == QUICK.steps // 2 < len(first.facts["flows"][0]["lambda"])


def test_it_abstains_from_a_set_that_is_not_aligned_and_says_by_how_much():
    images, unaligned = drawn(12), Guide(alignment=Alignment(2 * MOST_POSITION_COST))
    assert scored(images, FlowConfig()).abstains == ""
    assert scored(images, FlowConfig(position=False), guide=unaligned).abstains == ""
    reason = scored(images, FlowConfig(), guide=unaligned).abstains
    assert "Position is used only if the images are aligned" in reason
    assert "more than 22 %; here it raises it by 44 %" in reason


def test_facts_are_json_and_hold_the_course_of_lambda():
    facts = json.loads(json.dumps(scored(drawn(16)).facts))
    assert len(facts["flows"]) == facts["folds"] == 4
    assert all(0.005 <= value <= 0.0075 for value in facts["flows"][0]["lambda"])
    assert facts["position"]["own_mean"]


def test_the_set_itself_tells_whether_positions_count():
    rng = np.random.default_rng(0)
    anywhere = [image[rng.permutation(len(image))] for image in drawn(40)]
    assert scored(drawn(40)).facts["position"]["own_mean"]
    assert not scored(anywhere).facts["position"]["own_mean"]


@pytest.mark.parametrize("config", [QUICK, FlowConfig()], ids=["with blocks", "without"])
@pytest.mark.parametrize("count", [1, 2, 3, 17])
@pytest.mark.parametrize("one_group", [False, True])
def test_progress_counts_every_image_once(config: FlowConfig, count: int, one_group: bool):
    reports: list[int] = []
    groups = np.zeros(count, dtype=np.int64) if one_group else np.arange(count)
    Flow(config=config).score(embedded(drawn(count)), groups, progress=reports.append)
    assert sum(reports) == count


@pytest.mark.parametrize(("config", "half"), [(QUICK, 5), (FlowConfig(), 0)], ids=["with blocks", "without"])
def test_half_of_the_images_are_reported_while_blocks_train(config: FlowConfig, half: int):
    source = Watched(drawn(9))
    flow = Flow(config=replace(config, out_of_fold=False))  # one flow: in folds some train while others judge
    flow.score(replace(embedded(source.arrays), source=source), np.arange(9), progress=source.progress)
    assert source.progress_at_reads[-9] == half


def test_whitened_descriptors_of_each_position_are_centred_and_the_determinant_is_that_of_the_map():
    images, grid = embedded(drawn(200)), ReferenceGrid(ROWS, COLUMNS)
    sums = sum_patches(images, np.arange(200), grid)
    gaussians = fit_gaussians(sums, grid, shrinkage=SHRINKAGES[1], ridge=0.0)
    x, positions = [torch.from_numpy(images.patches(i)) for i in range(200)], positions_of(ROWS, COLUMNS)
    z, log_det = zip(*(gaussians.whiten(one, positions) for one in x), strict=True)
    flat = torch.stack(z).flatten(0, 1)
    assert_close(torch.stack(z).mean(dim=0), torch.zeros_like(z[0]), rtol=0, atol=0.1)
    assert_close(flat.T @ flat / len(flat), torch.eye(WIDTH), rtol=0, atol=0.05)
    assert_close(log_det[0][0], torch.linalg.slogdet(gaussians.root[0]).logabsdet, rtol=1e-4, atol=1e-4)


def test_the_likelihood_of_each_position_is_that_of_its_multivariate_normal():
    images, grid = embedded(drawn(50)), ReferenceGrid(ROWS, COLUMNS)
    sums = sum_patches(images, np.arange(50), grid)
    gaussians = fit_gaussians(sums, grid, shrinkage=SHRINKAGES[2], ridge=0.5)
    nll, x, areas = image_nll(images, 3, gaussians), torch.from_numpy(images.patches(3)), grid.areas()
    for cell in range(grid.cells):
        factor = torch.linalg.inv(gaussians.root[areas[cell]])
        normal_at = torch.distributions.MultivariateNormal(gaussians.mean[cell], scale_tril=factor)
        assert nll[cell] == pytest.approx(-float(normal_at.log_prob(x[cell])) / WIDTH, rel=1e-4)


def test_a_setting_out_of_range_is_refused():
    for wrong in ({"folds": 1}, {"inner_steps": 6}, {"trim": 1.0}, {"top_share": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            FlowConfig(**wrong)
    assert FlowConfig().query is Query.META_SET


def test_trimming_never_leaves_a_model_without_images():
    scores = scored(drawn(4), replace(QUICK, trim=0.9))
    assert np.isfinite(scores.values).all()
