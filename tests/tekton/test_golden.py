"""Pipelines that use what Tekton has, wrapped: each beside the files of what is expected, all valid for Tekton."""

from __future__ import annotations

import pytest

from tests.tekton.golden_cases import CASES, answers, compare, given, rendered
from tests.tekton.schema import check


@pytest.mark.parametrize("case", CASES)
def test_render_gives_the_golden_file(case: str) -> None:
    compare(case, "rendered.yaml", rendered(case))


@pytest.mark.parametrize("case", CASES)
def test_the_resolver_gives_the_golden_file(case: str) -> None:
    compare(case, "answers.yaml", answers(case))


@pytest.mark.parametrize("case", [case for case in CASES if case != "simple"])
def test_what_is_made_is_valid_for_tekton(case: str) -> None:
    for made in [*given(case), *rendered(case), *answers(case)]:
        check(made)


def test_the_seeds_misspelt_field_is_passed_on_for_tekton_to_judge() -> None:
    with pytest.raises(AssertionError, match="workingdir"):
        for made in rendered("simple"):
            check(made)
