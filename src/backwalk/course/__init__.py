"""A course on denoising diffusion for a reader of Ho et al. 2020: four lessons, twelve exercises with checks, grading.

A lesson is a text in `lessons/`, from which `write_lessons` makes a notebook. In it the student writes small functions
such as `q_posterior`, and calls `check("q_posterior", q_posterior)`: the function has to obey laws of the theory. Where
it breaks one, the check answers with a counterexample in numbers and a hint. `grade` does the same for a class.
docs/course.md is the teacher's page.
"""

from backwalk.course.checks import Checked, check
from backwalk.course.laws import EXERCISES

__all__ = ["EXERCISES", "Checked", "check"]
