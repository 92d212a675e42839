"""The splits are data, disjoint, and the test split is the one that numbers are published for."""

import pytest

from inference.dataset.splits import read_splits


def test_the_test_split_is_400_studies_from_980000_with_the_public_labels_prevalence():
    test = read_splits()["test"]
    assert test.seeds == range(980_000, 980_400)
    assert test.recipe.fractures == "public"
    assert test.recipe.coverage == "cspine"


def test_training_and_validation_begin_where_the_localisers_do():
    splits = read_splits()
    assert splits["train"].seeds.start == 100_000
    assert splits["validation"].seeds.start == 900_000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a]\nfirst_seed = 1\nstudies = 5\n[b]\nfirst_seed = 5\nstudies = 1\n", "a and b share seeds"),
        ("[a]\nfirst_seed = 1\n", "'a' is malformed: 'studies'"),
        ("[a]\nfirst_seed = 1\nstudies = 5\ncolour = 3\n", "'a' is malformed.*colour"),
        ("[a]\nfirst_seed = 1\nstudies = 5\nprotocol = 'x'\n", "protocol 'x' is not one of any, challenge"),
    ],
)
def test_splits_that_cannot_be_meant_are_refused(tmp_path, text, says):
    path = tmp_path / "splits.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        read_splits(path)
