"""
Seasons and weekdays
====================

A date is drawn first, and the numbers follow its season and its weekday. Here is a table of three years of bicycle
rides, one row a day, with a summer and with weekends.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from backwalk import Diffusion

rng = np.random.default_rng(0)
date = pd.date_range("2021-01-01", "2023-12-31")
season = np.sin(2 * np.pi * (date.day_of_year.to_numpy() - 105) / 365.25)
weekend = date.day_of_week.to_numpy() >= 5
temperature = (11 + 9 * season + 3 * rng.normal(size=len(date))).round(1)
rides = rng.poisson(np.exp(5.2 + 0.03 * temperature - 0.5 * weekend))
days = pd.DataFrame({"date": date, "temperature": temperature, "rides": rides})

model = Diffusion(max_steps=200, random_state=0, verbose=False).fit(days)
new = model.sample(2_000, random_state=1)

fig, axes = plt.subplots(1, 3, figsize=(10, 3))
for table, colour, name in ((days, "C0", "table"), (new, "C1", "new rows")):
    months = table.groupby(table["date"].dt.month)
    axes[0].plot(months["temperature"].mean(), color=colour, marker="o", markersize=3, label=name)
    axes[1].plot(months["rides"].mean(), color=colour, marker="o", markersize=3)
    axes[2].plot(table.groupby(table["date"].dt.day_of_week)["rides"].mean(), color=colour, marker="o", markersize=3)
axes[0].set(title="temperature", xlabel="month", xticks=[1, 4, 7, 10])
axes[1].set(title="rides", xlabel="month", xticks=[1, 4, 7, 10])
axes[2].set(title="rides", xticks=range(7), xticklabels="MTWTFSS", xlabel="weekday")
axes[0].legend(loc="upper left")
plt.show()

# %%
# A warm January day
# ------------------
#
# A date may be given, and so may a range of any column.

january = model.sample(300, given={"date": pd.Timestamp("2022-01-12")}, random_state=2)
warm = model.sample(300, given={"date": pd.Timestamp("2022-01-12"), "temperature": 14.0}, random_state=2)
fig, ax = plt.subplots(figsize=(6.4, 2.8))
bins = np.arange(100, 460, 15)
ax.hist(january["rides"], bins=bins, alpha=0.45, label="12 January 2022")
ax.hist(warm["rides"], bins=bins, histtype="step", color="C1", linewidth=1.6, label="the same day, at 14 degrees")
ax.set(xlabel="rides", yticks=[])
ax.legend()
plt.show()
