"""What predictions alone tell: which labels look wrong."""
import numpy as np
from cleanlab.filter import find_label_issues

from ftcls.apis.report.judging import find_suspects
from ftcls.evaluation.predictions import Predictions


def predictions(labels: np.ndarray, scores: np.ndarray) -> Predictions:
    size, classes = scores.shape
    predicted = scores.argmax(1) if labels.ndim == 1 else (scores > 0.5).astype(np.int8)
    names = [f'{number}.png' for number in range(size)]
    return Predictions('val', '', '', list('abcdef')[:classes], names, np.arange(size), labels, predicted,
                       scores.astype(np.float32), np.zeros((size, 0), np.int64))  # yapf: disable


def noisy(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores and which labels are wrong: 5 %, of any class, while the model confuses 0 and 1 only."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, 600)
    logits = rng.normal(0, 0.5, (600, 6))
    logits[np.arange(600), truth] += 4
    alike = truth < 2
    logits[alike, 1 - truth[alike]] += rng.normal(2.5, 1.5, alike.sum())
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels, wrong = truth.copy(), rng.choice(600, 30, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 6, 30)) % 6
    return labels, scores, np.isin(np.arange(600), wrong)


def test_wrong_labels_are_first_also_among_classes_that_are_seldom_confused() -> None:
    recalls = []
    for seed in range(5):
        labels, scores, wrong = noisy(seed)
        found = find_suspects(predictions(labels, scores))
        own = scores[np.arange(600), labels]
        assert found == np.argsort(own)[:len(found)].tolist()
        assert all(scores[found].argmax(1) != labels[found])
        by_pair = find_label_issues(labels, scores, return_indices_ranked_by='self_confidence', n_jobs=1)
        recalls.append([wrong[some].sum() / 30 for some in (found[:30], by_pair[:30])])
    ours, default = np.mean(recalls, axis=0)
    assert ours > 0.85 and ours > default


def test_images_without_a_label_are_left_out() -> None:
    labels, scores, _ = noisy(0)
    whole = find_suspects(predictions(labels, scores))
    labels = np.concatenate([[-1], labels, [-1]])
    scores = np.concatenate([scores[:1], scores, scores[:1]])
    assert find_suspects(predictions(labels, scores)) == [number + 1 for number in whole]


def test_clean_labels_and_a_sure_model_give_no_suspects() -> None:
    labels = np.arange(60) % 6
    scores = np.full((60, 6), 0.01)
    scores[np.arange(60), labels] = 0.95
    assert find_suspects(predictions(labels, scores)) == []


def test_several_labels_per_image() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 3)) < 0.5).astype(np.int8)
    scores = np.where(labels == 1, 0.9, 0.1) + rng.uniform(-0.05, 0.05, labels.shape)
    labels[7, 1] ^= 1
    labels[11, 2] ^= 1
    found = find_suspects(predictions(labels, scores))
    assert sorted(found[:2]) == [7, 11]
