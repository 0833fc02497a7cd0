"""The statistics of an assessment use the classifiers that they are named after."""

import pytest

from backwalk.assess import margins as m
from backwalk.assess.statistics import boosting, boosting_of, c2st, neighbours
from backwalk.assess.topics.closeness import statistics_of
from backwalk.assess.views import View
from backwalk.datasets import two_moons
from backwalk.streams import Stream
from backwalk.table import Codec, as_table

from .tables import model, table


@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_each_c2st_is_the_accuracy_of_its_classifier(kind):
    if kind == "numbers":
        x, y = (two_moons().sample(60, random_state=seed) for seed in range(2))
        view, trees = View(Codec.fit(as_table(x))), boosting
    else:
        view = View.of_table(model().codec, table(400, 1))
        x, y = (view.rows(table(60, seed)) for seed in (2, 3))
        trees = boosting_of(view.kinds)
    found = {statistic.name: statistic.measure(x, y) for statistic in statistics_of(view, stream=Stream(0))[:2]}
    values, coordinates = (slice(None),) * 2 if kind == "numbers" else (view.values, view.coordinates)
    stream = Stream(0).child("classifier")
    assert found == {
        m.C2ST: c2st(x[:, values], y[:, values], classifier=trees, stream=stream),
        m.C2ST_NEAREST: c2st(x[:, coordinates], y[:, coordinates], classifier=neighbours, stream=stream),
    }
    assert found[m.C2ST] != found[m.C2ST_NEAREST]
