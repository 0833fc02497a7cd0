"""
Rows of one species, from a table with labels and gaps
======================================================

The penguins of the Palmer Archipelago, with labels, decimals and gaps. New rows are drawn *given* that the species is
Gentoo. Nothing about the table is declared.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from backwalk import Diffusion
from backwalk.datasets import penguins

table = penguins().to_pandas()
species = ["Adelie", "Chinstrap", "Gentoo"]
model = Diffusion(max_steps=200, random_state=0, verbose=False).fit(table)
gentoos = model.sample(200, given={"species": "Gentoo"}, random_state=1)
gentoos.head()

# %%
# Crosses are new Gentoos, dots are the rows of the table.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
for ax, (x, y) in zip(axes, (("bill_length_mm", "bill_depth_mm"), ("flipper_length_mm", "body_mass_g"))):
    for colour, (name, part) in zip(("C0", "C3", "C2"), table.groupby("species")):
        ax.scatter(part[x], part[y], s=8, linewidths=0, alpha=0.5, color=colour, label=name)
    ax.scatter(gentoos[x], gentoos[y], s=14, marker="x", linewidths=0.8, color="C1", label="new, given Gentoo")
    ax.set(xlabel=x, ylabel=y)
axes[1].legend(loc="upper left")
plt.show()

# %%
# The other way round
# -------------------
#
# The same model gives the probability of each species, from a bill alone.

bills = pd.DataFrame({"bill_length_mm": np.linspace(33, 58, 51).round(1), "bill_depth_mm": 17.0})
given_bill = model.conditional(bills, "species", given=["bill_length_mm", "bill_depth_mm"])
fig, ax = plt.subplots(figsize=(6.4, 3))
for colour, name in zip(("C0", "C3", "C2"), species):
    column = list(given_bill.levels).index(name)
    ax.plot(bills["bill_length_mm"], given_bill.probabilities[:, column], color=colour, label=name)
ax.set(xlabel="bill_length_mm, with a depth of 17 mm", ylabel="probability")
ax.legend(loc="center right")
plt.show()
