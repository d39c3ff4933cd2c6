import numpy as np
import torch

from golden.support import cases, fill_layout, golden_root, load_npz, need_root, unpack_masks


def test_npz_and_masks_round_trip(tmp_path):
    masks = np.random.default_rng(0).random((3, 5, 13)) > 0.5
    np.savez(tmp_path / "a.npz", masks=np.packbits(masks, axis=-1), mask_shape=masks.shape)
    loaded = load_npz(tmp_path / "a.npz")
    assert np.array_equal(unpack_masks(loaded["masks"], loaded["mask_shape"]), masks)


def test_cases_group_files_by_stem(tmp_path, monkeypatch):
    monkeypatch.setenv("NOLABEL_GOLDEN", str(tmp_path))
    for name in ("pq/a.npz", "pq/a.json", "pq/b.json", "pq/c/input.npz"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).touch()
    assert golden_root() == tmp_path
    assert [p.name for p in cases("f", "pq")] == ["c", "a.npz", "b.json"]
    assert [p.name for p in cases("f", "pq/c")] == ["c"]
    assert [p.name for p in cases("f", "pq/*.json")] == ["a.json", "b.json"]
    assert cases("absent", "pq") == []


def test_fill_layout_is_deterministic_and_scales():
    need_root()
    layout = [{"name": "fc.weight", "shape": [4, 3], "dtype": "float32"}]
    plain = fill_layout(layout, 3)["fc.weight"]
    assert plain.dtype == torch.float32 and torch.equal(plain, fill_layout(layout, 3)["fc.weight"])
    assert not torch.equal(plain, fill_layout(layout, 4)["fc.weight"])
    assert torch.equal(fill_layout(layout, 3, {"fc.weight": 2.0})["fc.weight"], plain * 2)
