"""Several runs in one report: which are ranked, and what differs in their configs."""
import re
from collections.abc import Sequence

import numpy as np

from ftcls.apis.report.contents import RunContents
from ftcls.apis.report.page import render
from ftcls.evaluation.predictions import Predictions

SAMPLE = dict(gt_label=[0], pred_label=[0], pred_score=np.ones(1), img_path='val/0.jpg')


def text_of(runs: Sequence[RunContents]) -> str:
    """The page as text, without its styles."""
    return re.sub('<[^>]+>', '', render(runs).partition('<body>')[2]).replace('&nbsp;', ' ').replace('\xa0', ' ')


def test_a_run_that_is_certainly_better_is_best_and_stands_first() -> None:
    found = Predictions.from_samples([SAMPLE], 'val', 'best.pth', ['a'])
    runs = [
        RunContents(f'of {score}', predictions=found, metric='dice', score=score, interval=(score - 2., score + 2.))
        for score in (60., 80.)
    ]
    page = text_of(runs)
    assert 'of 80.0 is best with dice 80.00 %, before of 60.0 with 60.00 %: 20.00 points, 95 % interval 17' in page
    assert page.rindex('95 % interval') < page.index('78.00 to 82.00') < page.index('58.00 to 62.00')


def test_the_headline_of_an_experiment_is_its_own() -> None:
    found = Predictions.from_samples([SAMPLE], 'val', 'best.pth', ['a'])
    runs = [RunContents(name, predictions=found, metric='dice', score=50.) for name in 'ab']
    page = text_of([RunContents('kfold', verdict=['The mean is `50`.']), *runs])
    assert 'The mean is 50.' in page and 'first with' not in page


def test_copies_in_a_config_are_left_out() -> None:

    def config(size: int) -> dict:
        data = dict(dataset=dict(pipeline=[dict(scale=size)]))
        return dict(
            train_pipeline=[dict(scale=size)], test_pipeline=[dict(scale=size)], val_dataloader=data,
            train_dataloader=data, test_dataloader=data)  # yapf: disable

    page = text_of([RunContents(name, config=config(size)) for name, size in (('a', 1), ('b', 2))])
    assert page.count('pipeline.0.scale') == 2 and 'test_' not in page and 'train_pipeline' not in page
