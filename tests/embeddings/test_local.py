from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from curate.choices import Precision
from curate.embeddings.backbones import Backbone
from curate.embeddings.engines import local
from curate.embeddings.engines.cache import VECTORS_VERSION
from curate.embeddings.engines.local import Cache, EmbedReport, EmbedSettings, embed
from curate.embeddings.store import content_key
from curate.errors import CouldNotFinish, WriteError
from curate.findings import Code
from curate.images.decode import DecodeConfig
from curate.images.levels import Levels
from curate.images.sources import list_images
from curate.records import Embeddings, Finding, ImageFacts
from tests.plates import draw_plate, draw_plates


class TinyPyramid(nn.Module):
    """Three stages that see at most 16 px around their place, so that tiles of 32 px margin lose nothing."""

    def __init__(self, *, spoilt: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.stages = nn.ModuleList(nn.Conv2d(3, 8, stride, stride, bias=False) for stride in (4, 8, 16))
        for stage in self.stages:
            stage.weight.data = torch.randn(stage.weight.shape, generator=generator) / 8
        self.spoilt = spoilt

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = [stage(x).relu() for stage in self.stages]
        return [m * float("nan") for m in maps] if self.spoilt else maps


def backbone(name: str = "tiny", *, spoilt: bool = False) -> Backbone:
    return Backbone(
        name=name,
        network=TinyPyramid(spoilt=spoilt).eval(),
        channels=(8, 8, 8),
        strides=(4, 8, 16),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        sha256=name,
        licence="none",
        source="drawn",
    )


SETTINGS = EmbedSettings(long_px=128, decode=DecodeConfig(), levels=Levels())


def run(
    folder: Path, cache: Path, *, name: str = "tiny", progress=None, max_pixels: int = 10**6, **changes
) -> tuple[list[ImageFacts], Embeddings, EmbedReport]:
    settings = replace(SETTINGS, decode=DecodeConfig(max_pixels=max_pixels), **changes)
    network = backbone(name)
    return embed(
        list_images(folder),
        network,
        settings,
        cache=Cache(cache, network, settings),
        progress=progress or (lambda images: None),
    )


def all_patches(embeddings: Embeddings) -> np.ndarray:
    return np.concatenate([embeddings.patches(i) for i in range(len(embeddings))])


def test_a_second_scan_embeds_nothing_and_gives_the_same_bytes(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 9)
    _, first, worked = run(folder, tmp_path / "cache")
    _, second, rested = run(folder, tmp_path / "cache")
    assert (worked.embedded, worked.from_cache) == (9, 0)
    assert (rested.embedded, rested.from_cache) == (0, 9)
    np.testing.assert_array_equal(all_patches(first), all_patches(second))
    np.testing.assert_array_equal(first.pooled, second.pooled)


def test_after_adding_images_only_those_are_embedded(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 6)
    run(folder, tmp_path / "cache")
    draw_plates(folder, 10)
    assert run(folder, tmp_path / "cache")[2].embedded == 4


def test_a_renamed_or_copied_image_is_not_embedded_again(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 3)
    run(folder, tmp_path / "cache")
    (folder / "00.png").rename(folder / "renamed.png")
    (folder / "copy.png").write_bytes((folder / "01.png").read_bytes())
    assert run(folder, tmp_path / "cache")[2].embedded == 0


@pytest.mark.parametrize("other", [{"long_px": 160}, {"name": "another"}])
def test_other_settings_or_another_backbone_never_meet_in_the_cache(tmp_path: Path, other: dict[str, object]):
    folder = draw_plates(tmp_path / "plates", 3)
    run(folder, tmp_path / "cache")
    assert run(folder, tmp_path / "cache", **other)[2].embedded == 3


def test_descriptors_do_not_depend_on_the_batch_an_image_was_in(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 7)
    together = run(folder, tmp_path / "a", batch_size=7)[1]
    alone = run(folder, tmp_path / "b", batch_size=1)[1]
    np.testing.assert_array_equal(all_patches(together), all_patches(alone))


def test_a_tiled_image_has_the_descriptors_of_the_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "large").mkdir()
    draw_plate(np.random.default_rng(1), hole=True, side=320).save(tmp_path / "large" / "one.png")
    whole = run(tmp_path / "large", tmp_path / "a", long_px=320)[1]
    monkeypatch.setattr("curate.embeddings.frame.TILE_PX", 128)
    tiled = run(tmp_path / "large", tmp_path / "b", long_px=320)[1]
    assert tuple(tiled.grids[0]) == (20, 20)
    np.testing.assert_allclose(tiled.patches(0), whole.patches(0), atol=2e-3)
    np.testing.assert_allclose(tiled.pooled, whole.pooled, atol=1e-4)


def test_images_of_all_shapes_go_through_one_scan(tmp_path: Path):
    (tmp_path / "mixed").mkdir()
    rng = np.random.default_rng(0)
    for index, (width, height) in enumerate([(100, 40), (40, 100), (64, 64), (300, 31), (1, 1), (2000, 9)]):
        draw_plate(rng, side=64).resize((width, height)).save(tmp_path / "mixed" / f"{index}.png")
    _, embeddings, report = run(tmp_path / "mixed", tmp_path / "cache")
    assert report.embedded == 6
    assert [len(embeddings.patches(i)) for i in range(6)] == list(embeddings.patch_counts())
    assert np.isfinite(all_patches(embeddings)).all()


def test_an_interrupted_scan_goes_on_where_it_stopped(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 20)
    seen = 0

    def stop_half_way(images: int) -> None:
        nonlocal seen
        seen += images
        if seen == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "cache", batch_size=2, progress=stop_half_way)
    assert run(folder, tmp_path / "cache", batch_size=2)[2].embedded == 10


def flip_the_middle(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    for place in range(len(content) // 3, 2 * len(content) // 3):
        content[place] ^= 0xFF
    shard.write_bytes(content)


def zero_the_head(shard: Path) -> None:
    content = shard.read_bytes()
    shard.write_bytes(bytes(1200) + content[1200:])


def zero_the_middle(shard: Path) -> None:
    content = shard.read_bytes()
    third = len(content) // 3
    shard.write_bytes(content[:third] + bytes(third) + content[2 * third :])


def cut_short(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


@pytest.mark.parametrize("harm", [flip_the_middle, zero_the_middle, zero_the_head, cut_short, Path.unlink])
@pytest.mark.parametrize("which", ["facts", "vectors"])
def test_a_damaged_cache_is_mended_and_the_bytes_are_those_of_a_fresh_scan(tmp_path: Path, which: str, harm):
    folder = draw_plates(tmp_path / "plates", 6)
    facts, fresh, _ = run(folder, tmp_path / "cache")
    patches = all_patches(fresh)
    harm(next((tmp_path / "cache").glob(f"{which}-*/*.arrow")))
    again, mended, report = run(folder, tmp_path / "cache")
    assert again == facts
    assert (report.embedded > 0) == (which == "vectors")
    assert run(folder, tmp_path / "cache")[2].embedded == 0
    np.testing.assert_array_equal(all_patches(mended), patches)
    np.testing.assert_array_equal(mended.pooled, fresh.pooled)


def test_a_cache_deleted_during_the_scan_is_one_sentence_and_another_scan_mends_it(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 4)
    patches = all_patches(run(folder, tmp_path / "cache")[1])
    left = iter([None, None, None, tmp_path / "cache"])
    with pytest.raises(CouldNotFinish, match="scan again"):
        run(folder, tmp_path / "cache", progress=lambda _: (gone := next(left)) and shutil.rmtree(gone))
    np.testing.assert_array_equal(all_patches(run(folder, tmp_path / "cache")[1]), patches)


def test_patches_that_vanish_before_they_are_scored_are_one_sentence(tmp_path: Path):
    _, embeddings, _ = run(draw_plates(tmp_path / "plates", 2), tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(CouldNotFinish, match="scan again"):
        embeddings.patches(0)


def test_a_cache_that_cannot_be_written_is_told_before_the_scan(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="--cache"):
        Cache(tmp_path / "file" / "cache", backbone(), SETTINGS)


@pytest.mark.parametrize("code", [Code.NO_MEMORY, Code.UNSUPPORTED, Code.TOO_LARGE])
def test_why_a_file_was_skipped_is_not_kept_where_it_may_be_read_next_time(tmp_path: Path, code: str):
    cache = Cache(tmp_path, backbone(), SETTINGS)
    lasting = ImageFacts(sha256="01" * 32, skip_reason="why", findings=(Finding(code=Code.DAMAGED, message="why"),))
    passing = replace(lasting, sha256="02" * 32, findings=(Finding(code=code, message="why"),))
    cache.facts.append(cache.facts_rows([passing, lasting]))
    assert cache.facts_of(bytes.fromhex(lasting.sha256)) == lasting
    assert cache.facts_of(bytes.fromhex(passing.sha256)) is None


def test_another_pixel_limit_gives_what_a_fresh_scan_gives(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 2)
    for limit in (10**6, 100, 10**7, 10**6):
        cached, fresh = (run(folder, tmp_path / cache, max_pixels=limit)[0] for cache in ("one", f"{limit}"))
        assert cached == fresh
        assert bool(cached[0].skip_reason) == (limit == 100)
        shutil.rmtree(tmp_path / f"{limit}")


@pytest.mark.parametrize(
    ("change", "facts_meet", "vectors_meet"),
    [
        ({"levels": Levels(origin="sample", files_sampled=9)}, True, True),
        ({"decode": DecodeConfig(max_pixels=9)}, True, True),
        ({"levels": Levels(integer_white=4095)}, False, True),
        ({"levels": Levels(float_black=-1)}, False, True),
        ({"levels": Levels(markers=(-9999.0,))}, False, True),
        ({"decode": DecodeConfig(bands=(2,))}, False, True),
        ({"device": "cuda"}, True, False),
        ({"precision": Precision.BF16}, True, False),
        ({"seed": 1}, True, False),
    ],
)
def test_a_key_holds_what_decides_its_row_and_nothing_else(
    tmp_path: Path, change: dict[str, object], facts_meet: bool, vectors_meet: bool
):
    one, other = (Cache(tmp_path, backbone(), settings) for settings in (SETTINGS, replace(SETTINGS, **change)))
    assert (one.facts.folder == other.facts.folder) == facts_meet
    assert (one.vectors.folder == other.vectors.folder) == vectors_meet


def test_a_scan_on_an_accelerator_is_in_the_precision_that_was_asked_for(tmp_path: Path):
    # "cpu:0" is a device like any other to torch, and is no "cpu" to the engine: the way of an accelerator without one
    folder = draw_plates(tmp_path / "plates", 3)
    cpu = run(folder, tmp_path / "a")[1]
    exact = run(folder, tmp_path / "b", device="cpu:0")[1]
    rounded = run(folder, tmp_path / "b", device="cpu:0", precision=Precision.BF16)[1]
    np.testing.assert_allclose(exact.pooled, cpu.pooled, atol=1e-5)
    assert rounded.pooled.dtype == np.float32
    assert 1e-5 < np.abs(rounded.pooled - exact.pooled).max() < 0.02 * exact.pooled.max()
    np.testing.assert_allclose(all_patches(rounded), all_patches(exact), atol=0.05)


def test_what_earlier_versions_kept_as_bf16_on_cuda_is_never_read_and_all_else_is(tmp_path: Path):
    def earlier(settings: EmbedSettings) -> str:
        """The folder of the vectors as version 0.3 named it."""
        network = (backbone().sha256, backbone().name, backbone().strides)
        arithmetic = (settings.runtime, settings.precision, settings.device)
        key = content_key(VECTORS_VERSION, network, arithmetic, local.pyramid.RECIPE, settings.seed)
        return f"vectors-{key.hex()[:16]}"

    for device in ("cpu", "cuda"):
        for precision in Precision:
            settings = replace(SETTINGS, device=device, precision=precision)
            kept = Cache(tmp_path, backbone(), settings).vectors.folder.name == earlier(settings)
            assert kept == ((device, precision) != ("cuda", Precision.BF16))


def test_pixels_that_wait_for_their_batch_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = draw_plates(tmp_path / "plates", 7)
    monkeypatch.setattr(local, "WAITING_BYTES", 3 * 3 * 128 * 128)
    assert run(folder, tmp_path / "cache", batch_size=100)[2].batch_size == 3


def test_images_larger_than_the_room_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = draw_plates(tmp_path / "plates", 8)
    decode, decoding, most = local.decode_image, [], []

    def watch(*args, **options):
        decoding.append(None)
        most.append(len(decoding))
        time.sleep(0.005)  # time for another thread to come in
        decoding.pop()
        return decode(*args, **options)

    monkeypatch.setattr(local, "decode_image", watch)
    monkeypatch.setattr(local, "PIXELS_DECODED_AT_A_TIME", 100)
    monkeypatch.setattr(local.os, "cpu_count", lambda: 4)
    run(folder, tmp_path / "cache")
    assert most == [1] * 8


def test_no_more_is_held_at_a_time_than_there_is_room_and_the_largest_is_held_alone():
    room, lock, held, most = local._Room(10), threading.Lock(), [], []

    def hold(amount: int) -> None:
        with room.taken(amount):
            with lock:
                held.append(amount)
                most.append(sum(held) if len(held) > 1 else 0)
            time.sleep(0.002)
            with lock:
                held.remove(amount)

    amounts = [4, 6, 25, 1, 9, 3, 3, 3, 10, 2] * 4
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, amounts))
    assert len(most) == len(amounts)
    assert 0 < max(most) <= 10


def test_an_unreadable_file_is_a_fact_and_has_no_embedding(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 3)
    (folder / "01.png").write_bytes((folder / "01.png").read_bytes()[:300])
    facts, embeddings, _ = run(folder, tmp_path / "cache")
    assert [bool(known.skip_reason) for known in facts] == [False, True, False]
    assert list(embeddings.images) == [0, 2]
    again = run(folder, tmp_path / "cache")[0]
    assert again == facts


def test_a_network_that_gives_nan_is_refused(tmp_path: Path):
    folder = draw_plates(tmp_path / "plates", 2)
    network = backbone(spoilt=True)
    settings = EmbedSettings(long_px=64, decode=DecodeConfig(), levels=Levels())
    with pytest.raises(CouldNotFinish, match="tiny gives values that are not finite"):
        embed(list_images(folder), network, settings, cache=Cache(tmp_path / "cache", network, settings))


def test_the_seed_changes_the_projection_and_zero_is_a_seed():
    zero, one = local.pyramid.projection(40, 8, 0), local.pyramid.projection(40, 8, 1)
    assert torch.equal(zero, local.pyramid.projection(40, 8, 0))
    assert not torch.equal(zero, one)


def test_the_projection_keeps_distances_in_the_mean():
    points = torch.randn((60, 384), generator=torch.Generator().manual_seed(3))
    ratio = torch.pdist(points @ local.pyramid.projection(384, 128, 0)) / torch.pdist(points)
    assert abs(float(ratio.mean()) - 1) < 0.02
    assert float(ratio.std()) < 0.1


def test_stages_stay_apart_in_a_descriptor_and_fill_it():
    channels = (64, 200, 256)
    columns = local.pyramid.stage_columns(channels)
    assert [(c.start, c.stop) for c in columns] == [(0, 64), (64, 224), (224, 384)]
    matrix = local.pyramid.projection_by_stage(channels, 0)
    features = torch.randn(5, 520, generator=torch.Generator().manual_seed(0))
    changed = features.clone()
    changed[:, 64:264] = 0  # the middle stage
    moved = (features @ matrix != changed @ matrix).any(dim=0)
    assert moved.nonzero().ravel().tolist() == list(range(64, 224))


def test_up_to_384_channels_are_kept_as_they_are():
    assert torch.equal(local.pyramid.projection_by_stage((24, 40, 112), 0), torch.eye(176))
    matrix = local.pyramid.projection_by_stage((64, 128, 256), 0)
    assert torch.equal(matrix[:192, :192], torch.eye(192))
    assert matrix.shape == (448, 384)
