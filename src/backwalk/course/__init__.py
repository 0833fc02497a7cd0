"""A course on denoising diffusion for a reader of Ho et al. 2020: four lessons, twelve exercises with checks.

A lesson is a text in `lessons/`, from which `write_lessons` makes a notebook. In it the student writes small functions
such as `q_posterior`, and calls `check("q_posterior", q_posterior)`: the function has to obey laws of the theory. Where
it breaks one, the check answers with a counterexample in numbers and a hint.
docs/how-to/teach-the-course.md is the teacher's page.
"""

from backwalk.course.checks import Checked, check
from backwalk.course.laws import EXERCISES
from backwalk.course.moons import best_eps, draw_moons, moon_centres, moons_log_density
from backwalk.course.network import train_network
from backwalk.course.notebooks import LESSONS, write_lessons

__all__ = [
    "EXERCISES",
    "LESSONS",
    "Checked",
    "best_eps",
    "check",
    "draw_moons",
    "moon_centres",
    "moons_log_density",
    "train_network",
    "write_lessons",
]
