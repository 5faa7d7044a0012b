"""The fixed toys: those to report on, and those to choose settings on."""

from perso_lite.concepts import load_concept
from perso_lite.evaluation.prompts import development_toys, toys


def test_settings_are_chosen_on_other_toys_than_results_are_reported_on():
    assert len(toys()) == 8
    assert development_toys() == ["dev-car", "dev-rabbit", "dev-teapot"]
    assert not set(toys()) & set(development_toys())


def test_a_development_toy_is_of_a_class_that_no_other_toy_has():
    classes = {load_concept(name).class_word for name in toys()}
    assert not classes & {load_concept(n).class_word for n in development_toys()}
