"""Flat is judged from the samples of one life alone."""

from tests.soak.watch import Sample, judge


def life(seconds: int, memory=lambda at_s: 400.0, handles=lambda at_s: 50) -> list[Sample]:
    return [
        Sample(at_s=float(at_s), memory_mib=memory(at_s), handles=handles(at_s), threads=20)
        for at_s in range(0, seconds + 1, 5)
    ]


def test_a_short_life_is_not_judged():
    assert judge(life(500)).is_flat is None
    assert judge([]).is_flat is None


def test_what_fills_up_at_first_and_then_stays_is_flat():
    assert judge(life(1800, memory=lambda at_s: min(400.0, 200.0 + at_s), handles=lambda at_s: 40 + at_s % 7)).is_flat


def test_memory_that_rises_all_the_time_is_not_flat():
    verdict = judge(life(1800, memory=lambda at_s: 400.0 + at_s / 10))
    assert verdict.is_flat is False
    assert "+135 MiB" in verdict.why


def test_files_that_are_never_closed_are_not_flat():
    assert judge(life(1800, handles=lambda at_s: 50 + at_s // 30)).is_flat is False
