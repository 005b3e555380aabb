"""Makes stats.json: what SciPy, statsmodels, NumPy and scikit-learn answer where the harness has its own code.

Run in an environment with scikit-learn, scipy and statsmodels:  python make_stats.py > stats.json
"""

import json
import random

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.naive_bayes import MultinomialNB
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

rng = np.random.default_rng(20240611)


def wilson():
    for right, n in [(0, 1), (1, 1), (0, 10), (3, 10), (9, 10), (41, 395), (360, 395), (395, 395), (1234, 2000), (1, 100000)]:
        yield {"right": right, "n": n, "interval": list(map(float, proportion_confint(right, n, 0.05, "wilson")))}


def test():
    for a, b in [(0, 0), (0, 1), (1, 0), (0, 5), (5, 5), (4, 5), (3, 12), (10, 30), (7, 340), (500, 580), (900, 1100), (9000, 9400)]:
        yield {"only_a": a, "only_b": b, "p": float(mcnemar([[0, a], [b, 0]], exact=True).pvalue)}


def bootstrap():
    """Plain resampling, 400,000 times: the harness computes its limit, so they may differ by a row or two."""
    for a, b, n in [(0, 3, 20), (2, 9, 40), (5, 5, 100), (0, 40, 100), (13, 40, 300), (10, 330, 395), (120, 150, 2000)]:
        draws = rng.multinomial(n, [a / n, b / n, (n - a - b) / n], size=400_000)
        low, high = np.percentile((draws[:, 1] - draws[:, 0]) / n, [2.5, 97.5])
        yield {"only_a": a, "only_b": b, "n": n, "interval": [float(low), float(high)]}


def predictions():
    """Truths and predictions of five labels, -1 for no prediction; the fifth is never a truth."""
    truth = [random.randrange(4) for _ in range(200)]
    predicted = [t if random.random() < 0.6 else random.randrange(-1, 5) for t in truth]
    present = sorted({x for x in truth + predicted if x >= 0})
    return {
        "labels": 5,
        "truth": truth,
        "predicted": predicted,
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "confusion": confusion_matrix(truth, predicted, labels=list(range(5))).tolist(),
    }


def texts():
    """Rows with punctuation, digits, capitals, one-letter words, other scripts, and words seen only when tested."""
    shared = "I a my the Card card, is not 2 24 days? naïve straße don't x_1 где карта".split()
    own = [["arrived", "Delivery", "post", "track"], ["refund", "money", "BACK", "charge"], ["PIN", "locked", "code", "change"]]
    rare = ["zebra", "quux", "Ωmega"]

    def row(label, words):
        picked = [random.choice(own[label] if random.random() < 0.3 else words) for _ in range(random.randrange(1, 9))]
        return " ".join(picked)

    def rows(n, words):
        labels = [random.choices(range(3), [5, 3, 2])[0] for _ in range(n)]
        return [(row(label, words + random.choice(own)[:1]), label) for label in labels]

    open_rows, sealed = rows(120, shared), rows(80, shared + rare)
    vectorizer = CountVectorizer()
    model = MultinomialNB().fit(vectorizer.fit_transform([t for t, _ in open_rows]), [l for _, l in open_rows])
    predicted = model.predict(vectorizer.transform([t for t, _ in sealed]))
    truth = [l for _, l in sealed]
    majority = DummyClassifier(strategy="most_frequent").fit(open_rows, [l for _, l in open_rows])
    return {
        "open": open_rows,
        "sealed": sealed,
        "predicted": predicted.tolist(),
        "naive_bayes": float(accuracy_score(truth, predicted)),
        "majority": float(accuracy_score(truth, majority.predict(sealed))),
    }


random.seed(7)
json.dump(
    {"wilson": list(wilson()), "mcnemar": list(test()), "bootstrap": list(bootstrap()), "predictions": predictions(), "texts": texts()},
    open(1, "w", encoding="utf-8"),
    ensure_ascii=False,
    indent=None,
)
