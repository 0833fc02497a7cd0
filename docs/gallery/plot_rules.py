"""
Rules that every new row obeys
==============================

In a table of colleges, those who are accepted have applied, and those who enrol were accepted. No draw breaks a rule
that the fit is given. A model without rules breaks them now and then.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from backwalk import Diffusion
from backwalk.table import Order

rng = np.random.default_rng(0)
n = 700
applied = np.exp(rng.normal(7.5, 0.8, n)).round().astype(int)
accepted = rng.binomial(applied, rng.beta(8, 2, n))
enrolled = rng.binomial(accepted, rng.beta(4, 6, n))
colleges = pd.DataFrame({"applied": applied, "accepted": accepted, "enrolled": enrolled})

rules = [Order("accepted", "applied"), Order("enrolled", "accepted")]
with_rules = Diffusion(rules=rules, conditions="any", max_steps=150, random_state=0, verbose=False).fit(colleges)
without = Diffusion(max_steps=150, rules=None, random_state=0, verbose=False).fit(colleges)
drawn = {name: model.sample(700, random_state=1) for name, model in (("with rules", with_rules), ("without", without))}

fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharex=True, sharey=True)
for ax, (name, rows) in zip(axes, drawn.items()):
    broken = (rows["accepted"] > rows["applied"]) | (rows["enrolled"] > rows["accepted"])
    ax.scatter(rows["applied"][~broken], rows["accepted"][~broken], s=7, linewidths=0, alpha=0.6)
    ax.scatter(rows["applied"][broken], rows["accepted"][broken], s=16, marker="x", color="C1", label="breaks a rule")
    ax.axline((100, 100), (10_000, 10_000), color="0.5", linewidth=0.8, linestyle="--")
    ax.set(title=f"{name}: {broken.mean():.0%} break one", xlabel="applied", xscale="log", yscale="log")
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
assert (given["applied"] >= given["accepted"]).all()
