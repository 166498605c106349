from __future__ import annotations

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from custom.errors import InputError
from custom.prepare.sources import acdc, bcss
from custom.prepare.sources.published import published_names
from tests.prepare.conftest import SIZE, mask, pairs, picture

KVASIR = [f"cju{number:03d}qkwl35piu0993l0dewe" for number in range(12)]


def busi(folder, names):
    for name in names:
        picture(folder / name.split()[0] / f"{name}.png")
        mask(folder / name.split()[0] / f"{name}_mask.png")
    return folder


class TestBusi:
    def test_masks_are_joined_and_normal_cases_left_out(self, prepare, tmp_path):
        folder = busi(tmp_path / "Dataset_BUSI_with_GT", [f"benign ({n})" for n in range(1, 6)] + ["normal (1)"])
        mask(folder / "benign" / "benign (2)_mask_1.png", (255, 0, 0, 0))
        prepared = prepare("busi", folder, seed=1)
        everything = prepared.names("training") | prepared.names("validation") | prepared.names("test")
        assert everything == {f"benign ({n})" for n in range(1, 6)}
        assert prepared.values("benign (2)")[0].tolist() == [1] * 4 + [0] * 4 + [1] * 8
        assert "1 normal cases left out; 1 images had several masks" in prepared.report

    def test_an_image_with_one_of_two_masks_broken_has_no_label(self, prepare, tmp_path):
        folder = busi(tmp_path / "busi", [f"benign ({n})" for n in range(1, 6)])
        (folder / "benign" / "benign (2)_mask_1.png").write_bytes(b"garbage")
        prepared = prepare("busi", folder)
        assert {"image": "images/benign (2).png"} in prepared.datalist["training"]
        assert sum(prepared.result.counts.values()) == 5

    def test_the_published_test_images_are_the_test(self, prepare, tmp_path, monkeypatch):
        monkeypatch.setattr("custom.prepare.sources.busi.published_names", lambda _: {"test": ["benign (3)"]})
        folder = busi(tmp_path / "busi", [f"benign ({n})" for n in range(1, 6)])
        assert prepare("busi", folder).names("test") == {"benign (3)"}

    def test_without_all_of_them_the_split_is_drawn(self, prepare, tmp_path):
        prepared = prepare("busi", busi(tmp_path / "busi", [f"malignant ({n})" for n in range(1, 6)]))
        assert len(prepared.names("test")) == 1
        assert any("published test images are missing" in warning for warning in prepared.result.warnings)


@pytest.mark.parametrize(
    "dataset, place, images, masks, names",
    [
        ("kvasir", "Kvasir-SEG", "images", "masks", KVASIR),
        ("clinicdb", "CVC-ClinicDB", "Original", "Ground Truth", map(str, range(1, 9))),
        ("cvc300", "CVC-300", "images", "masks", map(str, range(149, 157))),
        ("colondb", "x/CVC-ColonDB", "images", "masks", map(str, range(1, 9))),
        ("etis", "ETIS-LaribPolypDB", "images", "masks", map(str, range(1, 9))),
    ],
)
def test_polyp_sets_are_read_as_distributed(prepare, tmp_path, dataset, place, images, masks, names):
    names = set(names)
    pairs(tmp_path / "source" / place, names, images, masks)
    prepared = prepare(dataset, tmp_path / "source")
    assert prepared.names("training") | prepared.names("validation") | prepared.names("test") == names


def test_another_polyp_set_is_not_taken_for_another(prepare, tmp_path):
    pairs(tmp_path / "CVC-ClinicDB", "123")
    with pytest.raises(InputError, match="not the data set kvasir"):
        prepare("kvasir", tmp_path / "CVC-ClinicDB")
    with pytest.raises(InputError, match="not the data set etis"):
        prepare("etis", tmp_path / "CVC-ClinicDB")


def test_tif_of_16_bit_planes_becomes_png(prepare, tmp_path):
    folder = pairs(tmp_path / "CVC-ClinicDB", "1234", "Original", "Ground Truth", ".tif")
    colours = np.random.RandomState(0).rand(SIZE[1], SIZE[0], 3).astype(np.float32)
    planes = np.moveaxis((colours * 65535).astype(np.uint16), -1, 0)
    tifffile.imwrite(folder / "Original" / "1.tif", planes, photometric="rgb", planarconfig="separate")
    prepared = prepare("clinicdb", folder)
    image = Image.open(next((prepared.folder / "images").glob("1.*")))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image) / 255 - colours).max() < 0.01


class TestPolyp:
    def test_pranet_folders_give_the_split(self, prepare, tmp_path):
        pairs(tmp_path / "a" / "TrainDataset", [*KVASIR[:8], *"1234"], "image", "mask")
        for name in ("Kvasir", "CVC-300"):
            pairs(tmp_path / "b" / "TestDataset" / name, ["1", "2"])
        prepared = prepare("polyp", tmp_path / "a", tmp_path / "b", validation_share=0.25)
        assert prepared.names("test") == {"Kvasir/1", "Kvasir/2", "CVC-300/1", "CVC-300/2"}
        assert len(prepared.names("validation")) == 3
        sets = [entry["set"] for split in ("training", "validation") for entry in prepared.datalist[split]]
        assert (sets.count("Kvasir"), sets.count("CVC-ClinicDB")) == (8, 4)

    def test_separate_sets_are_parted_by_the_published_names(self, prepare, tmp_path, monkeypatch):
        lists = {"Kvasir": KVASIR[:2], "CVC-ClinicDB": ["3"], "CVC-300": ["149", "150"]}
        monkeypatch.setattr("custom.prepare.sources.polyp.published_names", lambda _: lists)
        pairs(tmp_path / "Kvasir-SEG", KVASIR, suffix=".jpg")
        pairs(tmp_path / "cvc clinicdb", "12345", "original", "ground truth")
        pairs(tmp_path / "CVC-300", ["148", "149", "150"])
        prepared = prepare("polyp", *(tmp_path / name for name in ("Kvasir-SEG", "cvc clinicdb", "CVC-300")))
        assert prepared.names("test") == {
            f"Kvasir/{KVASIR[0]}", f"Kvasir/{KVASIR[1]}", "CVC-ClinicDB/3", "CVC-300/149", "CVC-300/150",
        }  # fmt: skip
        assert "1 images of CVC-300 are not in PraNet's test" in prepared.report

    def test_a_set_without_its_test_images_is_refused(self, prepare, tmp_path):
        pairs(tmp_path / "Kvasir-SEG", KVASIR)
        with pytest.raises(InputError, match="lacks 100 of PraNet's 100"):
            prepare("polyp", tmp_path / "Kvasir-SEG")


class TestIsic:
    def make(self, folder, part, numbers):
        for number in numbers:
            picture(folder / f"ISIC2018_Task1-2_{part}_Input" / f"ISIC_{number:07d}.jpg")
            mask(folder / f"ISIC2018_Task1_{part}_GroundTruth" / f"ISIC_{number:07d}_segmentation.png")

    def test_the_parts_of_the_challenge_are_the_split(self, prepare, tmp_path):
        for part, numbers in (("Training", range(6)), ("Validation", range(6, 8)), ("Test", range(8, 11))):
            self.make(tmp_path / "isic", part, numbers)
        prepared = prepare("isic2018", tmp_path / "isic")
        assert prepared.names("validation") == {"ISIC_0000006", "ISIC_0000007"}
        assert prepared.names("test") == {f"ISIC_{number:07d}" for number in (8, 9, 10)}

    def test_without_a_published_validation_a_fifth_is_held_out(self, prepare, tmp_path):
        self.make(tmp_path / "isic", "Training", range(10))
        self.make(tmp_path / "isic", "Test", range(10, 12))
        prepared = prepare("isic2018", tmp_path / "isic")
        assert len(prepared.names("validation")) == 2
        assert len(prepared.names("test")) == 2


class TestBcss:
    @pytest.fixture(autouse=True)
    def small_patches(self, monkeypatch):
        monkeypatch.setattr(bcss, "PATCH_SIDE", 8)

    def make(self, folder, slides, values=(1, 2, 19, 20), size=(16, 12)):
        for number in range(slides):
            name = f"TCGA-A1-A{number:03d}-DX1_xmin10_ymin20_MPP-0.2500"
            picture(folder / "rgbs_colorNormalized" / f"{name}.png", size)
            mask(folder / "masks" / f"{name}.png", values, size)
        return folder

    def test_regions_become_patches_of_tumour_and_rest(self, prepare, tmp_path):
        prepared = prepare("bcss", self.make(tmp_path / "bcss", 6))
        assert sum(prepared.result.counts.values()) == 24  # corners at x = 0, 8 and y = 0, 4
        name = "TCGA-A1-A000-DX1_xmin10_ymin20_MPP-0.2500_y00004_x00000"
        assert prepared.values(name)[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]

    def test_a_patch_is_the_image_at_its_place(self, prepare, tmp_path):
        folder = self.make(tmp_path / "bcss", 3)
        prepared = prepare("bcss", folder)
        name = "TCGA-A1-A001-DX1_xmin10_ymin20_MPP-0.2500"
        region = np.asarray(Image.open(folder / "rgbs_colorNormalized" / f"{name}.png"))
        patch = np.asarray(Image.open(prepared.folder / "images" / f"{name}_y00004_x00008.png"))
        assert np.array_equal(patch, region[4:12, 8:16])

    def test_patches_of_a_slide_stay_together(self, prepare, tmp_path):
        prepared = prepare("bcss", self.make(tmp_path / "bcss", 8))
        slides = [
            {entry["group"] for entry in prepared.datalist[split]} for split in ("training", "validation", "test")
        ]
        assert sum(map(len, slides)) == 8
        assert all(slides)

    def test_patches_mostly_outside_are_dropped_and_the_rest_counted(self, prepare, tmp_path):
        prepared = prepare("bcss", self.make(tmp_path / "bcss", 4, values=(0, 0, 0, 1)))
        assert sum(prepared.result.counts.values()) == 8
        assert "8 patches with more than 50% outside" in prepared.report
        assert "50.0% of the pixels (256) lie outside" in prepared.report

    def test_another_resolution_is_refused(self, prepare, tmp_path):
        folder = self.make(tmp_path / "bcss", 3)
        for path in folder.rglob("*.png"):
            path.rename(path.with_name(path.name.replace("0.2500", "1.0000")))
        with pytest.raises(InputError, match="download BCSS at 0.25"):
            prepare("bcss", folder)

    def test_unknown_codes_are_refused(self, prepare, tmp_path):
        with pytest.raises(InputError, match="no codes 0 to 21"):
            prepare("bcss", self.make(tmp_path / "bcss", 3, values=(0, 255)))


class TestAcdc:
    def make(self, folder, patients, shape=(10, 8, 2)):
        for number, patient in enumerate(patients):
            for frame in ("01", "12"):
                stem = folder / patient / f"{patient}_frame{frame}"
                stem.parent.mkdir(parents=True, exist_ok=True)
                volume = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
                volume[4, 4] += 10 * number + int(frame)  # no two alike
                truth = (np.arange(shape[0])[:, None, None] % 4 * np.ones(shape)).astype(np.uint8)
                nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), f"{stem}.nii.gz")
                nibabel.save(nibabel.Nifti1Image(truth, np.eye(4)), f"{stem}_gt.nii.gz")
        return folder

    def test_volumes_become_slices_with_four_classes(self, prepare, tmp_path):
        prepared = prepare("acdc", self.make(tmp_path / "acdc", ["patient001", "patient002", "patient003"]))
        assert sum(prepared.result.counts.values()) == 12
        assert prepared.datalist["num_classes"] == 4
        values = prepared.values("patient001_frame01_slice_1")  # [y, x], turned as it is shown: both axes run backwards
        assert values.shape == (8, 10)
        assert values[3].tolist() == [1, 0, 3, 2, 1, 0, 3, 2, 1, 0]
        (patient,) = {entry["group"] for entry in prepared.datalist["test"]}
        assert {entry["volume"] for entry in prepared.datalist["test"]} == {f"{patient}_frame01", f"{patient}_frame12"}

    def test_intensities_span_8_bits_in_the_volume_s_order(self, prepare, tmp_path):
        prepared = prepare("acdc", self.make(tmp_path / "acdc", ["patient001", "patient002", "patient003"]))
        image = np.asarray(Image.open(prepared.folder / "images" / "patient001_frame01_slice_0.png"))
        assert image[7, 9] == 0
        assert image[0, 0] >= 254
        assert image[0, 9] < image[7, 8]  # x is the slower axis of the made-up volume

    def test_slices_of_a_patient_stay_together(self, prepare, tmp_path):
        prepared = prepare("acdc", self.make(tmp_path / "acdc", [f"patient{n:03d}" for n in range(1, 7)]))
        patients = [{entry["group"] for entry in prepared.datalist[s]} for s in ("training", "validation", "test")]
        assert sum(map(len, patients)) == 6

    def test_the_published_patients_are_the_split(self, prepare, tmp_path, monkeypatch):
        patients = [f"patient{n:03d}" for n in range(1, 7)]
        lists = {"validation": ["patient002"], "test": ["patient004"], "labelled": ["patient005", "patient001"]}
        monkeypatch.setattr(acdc, "_PATIENTS_OF_THE_LISTS", set(patients[:5]))
        monkeypatch.setattr(acdc, "published_names", lambda _: lists)
        prepared = prepare("acdc", self.make(tmp_path / "acdc", patients))
        assert {entry["group"] for entry in prepared.datalist["test"]} == {"patient004"}
        assert {entry["group"] for entry in prepared.datalist["validation"]} == {"patient002"}
        assert {entry["group"] for entry in prepared.datalist["training"]} == {"patient001", "patient003", "patient005"}
        subset = prepared.datalist["labelled_subsets"]["3 patients"]
        assert {path.split("/")[1][:10] for path in subset} == {"patient005", "patient001"}
        assert "patient005" in prepared.datalist["labelled_subsets"]["1%"][0]
        assert any("1 patients are in no list" in warning for warning in prepared.result.warnings)

    def test_a_cut_volume_is_named(self, prepare, tmp_path):
        folder = self.make(tmp_path / "acdc", ["patient001"])
        path = folder / "patient001" / "patient001_frame01.nii.gz"
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(InputError, match=r"patient001_frame01\.nii\.gz cannot be read"):
            prepare("acdc", folder)


class TestFolder:
    def test_names_match_whatever_case_spaces_and_ending(self, prepare, tmp_path):
        for name in ("A 1 ", "b", "c"):
            picture(tmp_path / "Own/My Set/IMAGES" / f"{name}.JPG")
        for name in ("a 1_mask", "B", "c_segmentation"):
            mask(tmp_path / "Own/My Set/Masks" / f"{name}.PNG")
        prepared = prepare("folder", tmp_path / "Own")
        assert "unlabelled: none" in prepared.report
        assert "A 1" in prepared.names("training") | prepared.names("validation") | prepared.names("test")

    def test_folders_called_train_val_test_are_the_split(self, prepare, tmp_path):
        for part, names in (("Train", "abc"), ("val", "d"), ("test", "ef")):
            pairs(tmp_path / "own" / part, names)
        prepared = prepare("folder", tmp_path / "own")
        assert prepared.names("validation") == {"val/d"}
        assert prepared.names("test") == {"test/e", "test/f"}

    def test_that_split_can_be_set_aside(self, prepare, tmp_path):
        for part, names in (("train", "abcdefgh"), ("test", "ij")):
            pairs(tmp_path / "own" / part, names)
        assert len(prepare("folder", tmp_path / "own", published_split=False, test_share=0.5).names("test")) == 5

    def test_images_without_a_mask_are_unlabelled(self, prepare, own):
        picture(own / "images" / "extra.png")
        entries = prepare("folder", own).datalist["training"]
        assert [entry["image"] for entry in entries if "label" not in entry] == ["images/extra.png"]

    def test_three_classes_are_found(self, prepare, tmp_path):
        prepared = prepare("folder", pairs(tmp_path / "own", "abcd", values=(0, 100, 200, 100)))
        assert prepared.datalist["classes"] == {"0": 0, "100": 1, "200": 2}
        assert prepared.values("a")[0].tolist() == np.repeat([0, 1, 2, 1], 4).tolist()


def test_published_lists_have_their_sizes():
    assert len(set(published_names("busi")["test"])) == 130
    assert [len(set(names)) for names in published_names("polyp").values()] == [100, 62, 60]
    assert [len(set(names)) for names in published_names("acdc").values()] == [10, 20, 14]
