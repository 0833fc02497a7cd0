"""The statistics of an assessment use the classifiers that they are named after."""

import pytest

from backwalk.assess.representation import Representation
from backwalk.assess.statistics import boosting, c2st, neighbours
from backwalk.assess.statistics.two_sample import boosting_of
from backwalk.assess.topics.closeness import C2ST, C2ST_NEAREST, choose_measures
from backwalk.datasets import two_moons
from backwalk.streams import Stream
from backwalk.table import as_table, fit_codec

from ..tables import model, table


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_each_c2st_is_the_accuracy_of_its_classifier(kind):
    if kind == "numbers":
        x, y = (two_moons().sample(60, random_state=seed) for seed in range(2))
        representation, trees = Representation.of_numbers(fit_codec(as_table(x))), boosting
    else:
        representation = Representation.of_table(model().codec, table(400, 1))
        x, y = (representation.encode(table(60, seed)) for seed in (2, 3))
        trees = boosting_of(representation.kinds)
    found = {measure.name: measure.of(x, y) for measure in choose_measures(representation, stream=Stream(0))[:2]}
    values, coordinates, stream = representation.values, representation.coordinates, Stream(0).child("classifier")
    assert found == {
        C2ST: c2st(x[:, values], y[:, values], classifier=trees, stream=stream),
        C2ST_NEAREST: c2st(x[:, coordinates], y[:, coordinates], classifier=neighbours, stream=stream),
    }
    assert found[C2ST] != found[C2ST_NEAREST]
