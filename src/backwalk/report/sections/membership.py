"""The section of membership: can training rows be recognised by the model's log-probability, or by their levels?"""

from __future__ import annotations

from backwalk.assess.statistics import sign_that_matters
from backwalk.assess.statistics.membership import Found
from backwalk.assess.topics.conditionals import LEVEL_LOSS_MARGIN
from backwalk.assess.topics.membership import AREA_MARGIN, MembershipScores, MembershipTest
from backwalk.assess.words import estimate_text, signed, with_error
from backwalk.report.blocks import Cell, Context, Heading, Row, Section, Table, Text


def membership_section(context: Context) -> Section | None:
    """Show whether training rows can be recognised, if these were given."""
    scores = context.fidelity.membership
    if scores is None:
        return None
    words = (
        f"Whoever has the model can compute ln p of any row. {scores.n_trained:,} training rows are tested against "
        f"{scores.n_unseen:,} unseen rows: is the score of the training row the higher one? Training rows are those "
        "that the model was trained on; held-out rows, which chose its weights, count as neither."
    )
    if scores.n_impossible:
        words += f" {scores.n_impossible:,} of the unseen rows hold values that the model cannot make, and score −∞."
    blocks: list[object] = [
        Text(words),
        Table(("Score", "Pairs told apart", "Training rows found"), [_test_row(test) for test in scores.tests]),
        Text(_notes(scores), note=True),
    ]
    levels = [] if context.fidelity.conditionals is None else context.fidelity.conditionals.levels
    rows = []
    for level in levels:
        gain = level.training_gain
        if gain is not None:
            matters = sign_that_matters(gain.value, gain.standard_error, LEVEL_LOSS_MARGIN)
            difference = signed(with_error(-gain.value, gain.standard_error))
            cell = Cell(estimate_text(level.on_training), difference, bool(matters))
            rows.append(Row(context.name(level.column), [Cell(estimate_text(level.loss)), cell]))
    if rows:
        blocks += [
            Heading("One column, given all others"),
            Text(
                "Whoever also knows the other columns of a row can ask for the probability of its level. The second "
                "column holds the loss on training rows, and below it the difference from that on unseen rows: below 0 "
                "where the model remembers levels."
            ),
            Table(("Column", "−ln P(level) of unseen rows, nats", "Of training rows"), rows),
        ]
    return Section("Can its training rows be recognised?", blocks)


def _test_row(test: MembershipTest) -> Row:
    area = test.area
    matters = sign_that_matters(area.value - 0.5, area.standard_error, AREA_MARGIN)
    text = with_error(area.value, area.standard_error, percent=True)
    return Row(test.score, [Cell(text, matters=bool(matters)), _found_cell(test.found)])


def _found_cell(found: Found | None) -> Cell:
    if found is None:
        return Cell("–")
    text = f"{100 * found.share:.1f} % (95 %: {100 * found.low:.1f} to {100 * found.high:.1f} %)"
    return Cell(text, matters=found.share > found.limit)


def _notes(scores: MembershipScores) -> str:
    found = scores.tests[0].found
    words = (
        "Pairs told apart: the area under the ROC curve, 50 % by chance. A share in bold is off by more than two "
        f"standard errors and {100 * AREA_MARGIN:g} %. These rows could have shown "
        f"{100 * scores.smallest_area:.1f} % or more. "
    )
    if found is None:
        words += "Fewer than 99 unseen rows cannot show how many training rows are found at a false-alarm rate of 1 %."
    else:
        words += (
            "Training rows found: the share whose score is above those of all but 1 % of the unseen rows, "
            f"{100 * found.by_chance:.1f} % by chance. It is in bold above {100 * found.limit:.1f} %, as 2.5 % of such "
            "shares are by chance."
        )
    if len(scores.tests) > 1:
        words += (
            " The second score asks what the model knows that a simple model does not. The simple model is fitted to "
            "other rows than it scores."
        )
    return words
