"""
The posterior of an epidemic
============================

A simulator: in a town of 10,000 an infection spreads, by the SIR equations. The rates of infection and of recovery are
unknown. On ten days the infected among 200 people are counted. Which rates explain the counts?
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from backwalk import Diffusion, Number, posterior

days = np.arange(8, 88, 8)
rng = np.random.default_rng(0)


def epidemic(infection, recovery):
    """Return the shares infected on all days, for rates (n,): (n, 88)."""
    susceptible, infected = np.full(len(infection), 0.999), np.full(len(infection), 0.001)
    path = []
    for _ in range(4 * 88):  # four steps a day
        new, ended = infection * susceptible * infected / 4, recovery * infected / 4
        susceptible, infected = susceptible - new, infected + new - ended
        path.append(infected)
    return np.stack(path, 1)[:, 3::4]


def simulate(infection, recovery):
    shares = np.clip(epidemic(infection, recovery)[:, days - 1], 0, 1)
    return rng.binomial(200, shares)


names = [f"day {day}" for day in days]
theta = rng.uniform([0.1, 0.03], [0.8, 0.3], size=(4_000, 2))  # the prior
rows = pd.DataFrame(np.hstack([theta, simulate(*theta.T)]), columns=["infection", "recovery", *names])
bounds = {"infection": Number(bounds=(0.1, 0.8)), "recovery": Number(bounds=(0.03, 0.3))}
model = Diffusion(conditions=[names], columns=bounds, max_steps=250, random_state=0, verbose=False).fit(rows)

truth = np.array([[0.35, 0.1]])
counts = simulate(*truth.T)[0]
of_rates = posterior(model, given=names).set_default_x(counts)
draws = of_rates.sample((1_000,), random_state=1).numpy()
print("rates", truth[0], "posterior mean", draws.mean(0).round(3), "+-", draws.std(0).round(3))

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8))
axes[0].scatter(*draws.T, s=4, linewidths=0, alpha=0.5, label="posterior")
axes[0].plot(*truth[0], marker="+", markersize=12, markeredgewidth=2, color="C1", linestyle="none", label="truth")
axes[0].set(xlabel="rate of infection, per day", ylabel="rate of recovery, per day")
axes[0].legend(loc="lower right")

paths = 200 * epidemic(*draws[:300].T)
low, middle, high = np.quantile(paths, [0.05, 0.5, 0.95], axis=0)
every_day = np.arange(1, 89)
axes[1].fill_between(every_day, low, high, alpha=0.3, linewidth=0, label="90 % of the posterior's epidemics")
axes[1].plot(every_day, middle, linewidth=1.2)
axes[1].plot(days, counts, "o", color="C1", markersize=5, label="counts")
axes[1].set(xlabel="day", ylabel="infected of 200")
axes[1].legend()
plt.show()

# %%
# The band is that of expected counts. Counts scatter around it by chance, and should otherwise follow it: this is a
# *posterior predictive check*. A count that no rates can explain is refused by ``check``.

print(of_rates.check())
print(of_rates.check(counts[::-1] + np.arange(10) * 15))
