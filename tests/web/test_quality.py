"""How close a sampler's rows are to real rows: figures of the page, beside those of other real rows."""

import numpy as np
import pytest

from backwalk.assess.statistics import sliced_wasserstein
from backwalk.datasets import two_moons
from backwalk.streams import Stream
from backwalk.web.models import ModelEntry
from backwalk.web.quality import compute_quality
from backwalk.web.requests import QualityRequest
from backwalk.web.security import Refusal

FEW = {"sampler": "ddim", "n_evaluations": 2}
MANY = {"sampler": "ddim", "n_evaluations": 30}


def of(page, moons, **body):
    return page.answer(f"/api/models/{moons['model']}/quality", body)


@pytest.mark.slow
def test_figures_tell_few_evaluations_from_many(page, moons):
    few, many = (of(page, moons, **body) for body in (FEW, MANY))
    assert few["rows"] == "new draws"
    for name in ("c2st", "distance"):
        bad, good = few["figures"][name], many["figures"][name]
        assert bad["value"] - good["value"] > 2 * (bad["error"] + good["error"])
        assert (bad["null"], bad["null_error"]) == (good["null"], good["null_error"]), "no sampler has a part in it"
    assert many["figures"]["c2st"]["null"] == pytest.approx(0.5, abs=0.05)


def test_distance_is_that_of_the_pages_rows(page, moons, same_fit):
    figure = of(page, moons, figures=["distance"], **FEW)["figures"]
    drawn = same_fit.sample(4000, sampler="ddim", n_evaluations=2, random_state=0)
    real = two_moons().sample(4000, random_state=5)
    spread = same_fit.model_.codec.encode(real).std(axis=0) / real.std(axis=0)
    parts = [slice(k, k + 1000) for k in range(0, 4000, 1000)]
    apart = [sliced_wasserstein(real[part] * spread, drawn[part] * spread, stream=Stream(0)) for part in parts]
    assert list(figure) == ["distance"]
    assert figure["distance"]["value"] == pytest.approx(np.mean(apart), rel=0.1)


def test_log_p_is_that_of_the_ladder(page, moons):
    path, body = f"/api/models/{moons['model']}", {"n": 50, "seed": 2}
    ladder = page.answer(f"{path}/bound", body)["ladder"]
    assert page.answer(f"{path}/log-p", body)["ladder"] == ladder[:2]


def test_a_model_without_its_rows_has_none(same_fit):
    with pytest.raises(Refusal, match="without its data"):
        compute_quality(ModelEntry("given", same_fit), QualityRequest())
