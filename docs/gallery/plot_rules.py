"""
Rules that every new row obeys
==============================

In a table of colleges, applicants who are accepted have applied, and those who enrol were accepted; the total of
students is the sum of its parts. The fit finds such rules, and no draw breaks them. A model without rules does break
them now and then.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from backwalk import Diffusion

rng = np.random.default_rng(0)
n = 700
applied = np.exp(rng.normal(7.5, 0.8, n)).round().astype(int)
accepted = rng.binomial(applied, rng.beta(8, 3, n))
enrolled = rng.binomial(accepted, rng.beta(4, 6, n))
part_time = rng.poisson(0.3 * enrolled)
colleges = pd.DataFrame(
    {
        "applied": applied,
        "accepted": accepted,
        "enrolled": enrolled,
        "part_time": part_time,
        "all": enrolled + part_time,
    }
)

with_rules = Diffusion(max_steps=150, random_state=0, verbose=False).fit(colleges)
without = Diffusion(max_steps=150, rules=None, random_state=0, verbose=False).fit(colleges)
drawn = {name: model.sample(700, random_state=1) for name, model in (("with rules", with_rules), ("without", without))}

fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharex=True, sharey=True)
for ax, (name, rows) in zip(axes, drawn.items()):
    broken = (rows["accepted"] > rows["applied"]) | (rows["all"] != rows["enrolled"] + rows["part_time"])
    ax.scatter(rows["applied"], rows["accepted"], s=7, linewidths=0, alpha=0.6)
    above = rows["accepted"] > rows["applied"]
    ax.scatter(
        rows["applied"][above],
        rows["accepted"][above],
        s=14,
        marker="x",
        color="C1",
        label="more accepted than applied",
    )
    ax.axline((1, 1), slope=1, color="0.5", linewidth=0.8, linestyle="--")
    ax.set(title=f"{name}: {broken.mean():.0%} of rows break a rule", xlabel="applied", xscale="log", yscale="log")
axes[0].set_ylabel("accepted")
axes[1].legend(loc="lower right")
plt.show()

# %%
# Rules under a condition
# -----------------------
#
# They hold whatever is given. Here 500 enrol, so at least as many are accepted.

given = with_rules.sample(300, given={"enrolled": 500}, random_state=2)
print(given.head(4).to_string(index=False))
print("fewest accepted:", given["accepted"].min())
assert (given["accepted"] >= 500).all()
assert (given["all"] == given["enrolled"] + given["part_time"]).all()
