"""
Rows of one species, from a table with labels and gaps
======================================================

A table of penguins: labels, decimals and gaps. New rows are drawn *given* that the species is Gentoo. Nothing else
about the table is declared.

The rows are made in this script, with means and correlations like those of the Palmer penguins, which are rounded here.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from backwalk import Diffusion

rng = np.random.default_rng(0)
species = {  # share, and means and deviations of bill length and depth (mm), flipper (mm) and mass (g)
    "Adelie": (0.44, [38.8, 18.3, 190, 3700], [2.7, 1.2, 6.5, 460]),
    "Chinstrap": (0.20, [48.8, 18.4, 196, 3730], [3.3, 1.1, 7.1, 385]),
    "Gentoo": (0.36, [47.5, 15.0, 217, 5080], [3.1, 1.0, 6.5, 500]),
}
correlations = 0.55 * np.ones((4, 4)) + 0.45 * np.eye(4)
tables = []
for name, (share, means, deviations) in species.items():
    z = rng.multivariate_normal(np.zeros(4), correlations, int(600 * share))
    numbers = means + z * deviations
    part = pd.DataFrame(numbers, columns=["bill length", "bill depth", "flipper", "mass"])
    part = part.assign(species=name, sex=np.where(z[:, 3] + 0.8 * rng.normal(size=len(z)) > 0, "male", "female"))
    tables.append(part)
penguins = pd.concat(tables, ignore_index=True).round({"bill length": 1, "bill depth": 1, "flipper": 0})
penguins["mass"] = 25 * (penguins["mass"] / 25).round()
penguins.loc[rng.random(len(penguins)) < 0.05, "sex"] = None

model = Diffusion(max_steps=200, random_state=0, verbose=False).fit(penguins)
gentoos = model.sample(200, given={"species": "Gentoo"}, random_state=1)
gentoos.head()

# %%
# Crosses are the new Gentoos, dots the rows of the table.

fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
for ax, (x, y) in zip(axes, (("bill length", "bill depth"), ("flipper", "mass"))):
    for colour, (name, part) in zip(("C0", "C3", "C2"), penguins.groupby("species")):
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

bills = pd.DataFrame({"bill length": np.linspace(33, 58, 60), "bill depth": 17.0})
given_bill = model.conditional(bills, "species", given=["bill length", "bill depth"])
fig, ax = plt.subplots(figsize=(6.4, 3))
for colour, name in zip(("C0", "C3", "C2"), species):
    column = list(given_bill.levels).index(name)
    ax.plot(bills["bill length"], given_bill.probabilities[:, column], color=colour, label=name)
ax.set(xlabel="bill length, with a depth of 17 mm", ylabel="probability")
ax.legend(loc="center right")
plt.show()
