import pytest

from dicom_node.core.errors import ConfigurationError
from dicom_node.core.identifiers import AETitle, derived_uid, is_standard_uid, is_uid, study_key


def test_outer_spaces_of_an_ae_title_are_not_significant():
    assert AETitle(" PACS  ") == AETitle("PACS")


@pytest.mark.parametrize("text", ["", "    ", "SEVENTEEN_LETTERS", "A\\B", "A\nB", "ÄRZTE"])
def test_what_is_no_ae_title_is_refused_with_its_value(text):
    with pytest.raises(ConfigurationError) as refusal:
        AETitle(text)
    assert refusal.value.value == text


def test_leading_zeros_are_let_through_and_not_called_standard():
    assert is_uid("1.2.03")
    assert not is_standard_uid("1.2.03")
    assert is_standard_uid("1.2.0.3")


@pytest.mark.parametrize("text", ["", "1..2", ".1", "1.", "1.2a", "1" * 65, "1.2\n"])
def test_what_is_no_uid_is_none(text):
    assert not is_uid(text)


def test_a_derived_uid_depends_on_its_parts_alone():
    assert derived_uid("a", "b") == derived_uid("a", "b")
    assert len({derived_uid("a", "b"), derived_uid("ab", ""), derived_uid("b", "a")}) == 3
    assert is_standard_uid(derived_uid("a"))


def test_a_study_key_is_short_and_does_not_show_the_uid():
    assert len(study_key("1.2.3")) == 16
    assert "1.2.3" not in study_key("1.2.3")
