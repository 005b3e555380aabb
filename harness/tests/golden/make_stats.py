"""Makes stats.json: what SciPy, statsmodels, NumPy and scikit-learn answer where the harness has its own code.

Run in an environment with scikit-learn, scipy and statsmodels:  python make_stats.py > stats.json
"""

import json
import random

import numpy as np
import statsmodels.api as sm
from scipy import stats
from scipy.special import comb
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.naive_bayes import MultinomialNB
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_sample_size_one_tail
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

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


def quantiles():
    """Student's t; infinite degrees of freedom are written as null."""
    for df in [1, 2, 3, 4, 7, 10, 29, 99, 1000, 250_000, None]:
        for p in [0.0005, 0.025, 0.3, 0.8, 0.975, 0.99, 0.9999]:
            yield {"p": p, "df": df, "t": float(stats.norm.ppf(p) if df is None else stats.t.ppf(p, df))}


def shares():
    """Clopper-Pearson and Wilson at three levels."""
    for right, n in [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (14, 29), (41, 395), (360, 395), (1234, 2000), (1, 100000)]:
        for alpha in [0.01, 0.05, 0.2]:
            both = {name: list(map(float, proportion_confint(right, n, alpha, name))) for name in ["beta", "wilson"]}
            yield {"right": right, "n": n, "alpha": alpha, **both}


def clustered(values, clusters):
    """Cluster-robust standard error of a mean: a regression on a constant."""
    fit = sm.OLS(values, np.ones(len(values)))
    return float(fit.fit(cov_type="cluster", cov_kwds={"groups": clusters}).bse[0])


def means():
    """Means with Student's interval and with the cluster-robust one, for clusters of unequal sizes."""
    draw = np.random.default_rng(5)
    for n, groups in [(2, 2), (5, 3), (30, 7), (200, 25), (1000, 400)]:
        clusters = np.concatenate([np.arange(groups), draw.integers(0, groups, n - groups)])
        values = draw.normal(size=n) * 3 + draw.normal(size=groups)[clusters] + 10
        mean, plain, robust = float(values.mean()), float(stats.sem(values)), clustered(values, clusters)
        yield {
            "values": values.tolist(),
            "clusters": clusters.tolist(),
            "mean": mean,
            "se": plain,
            "clustered_se": robust,
            "interval": list(map(float, stats.t.interval(0.95, n - 1, mean, plain))),
            "clustered_interval": list(map(float, stats.t.interval(0.95, groups - 1, mean, robust))),
        }


def clustered_shares():
    """Wilson's interval, as statsmodels has it, at the effective number of items and the level that gives Student's t."""
    draw = np.random.default_rng(6)
    for groups, size, p in [(10, 12, 0.4), (50, 4, 0.1), (100, 5, 0.8)]:
        chances = draw.beta(p, 1 - p, groups)
        right = (draw.random((groups, size)) < chances[:, None]).astype(int).ravel()
        clusters = np.repeat(np.arange(groups), size)
        share, n = right.mean(), len(right)
        effective = min(max(share * (1 - share) / clustered(right.astype(float), clusters) ** 2, 1), n)
        level = 2 * stats.norm.sf(stats.t.ppf(0.975, groups - 1))
        low, high = proportion_confint(share * effective, effective, level, "wilson")
        yield {"right": right.tolist(), "clusters": clusters.tolist(), "interval": [float(low), float(high)]}


def paired_shares():
    """Agresti and Min: statsmodels' interval of a mean of -1, 0 and 1 after half an item more in each cell."""
    for a, b, n in [(0, 0, 20), (0, 3, 20), (2, 9, 40), (13, 40, 300), (120, 150, 2000)]:
        items = sm.stats.DescrStatsW([-1, 1, 0], weights=[a + 0.5, b + 0.5, n - a - b + 1], ddof=0)
        low, high = items.zconfint_mean(0.05)
        # It divides by n - 1.
        half = (high - low) / 2 * np.sqrt((n + 1) / (n + 2))
        yield {"only_a": a, "only_b": b, "n": n, "interval": [float(items.mean - half), float(items.mean + half)]}


def unpaired_shares():
    """Newcombe's interval of a difference of two shares, and Fisher's exact test."""
    for a, b in [((0, 1), (1, 1)), ((0, 5), (5, 5)), ((20, 20), (15, 20)), ((0, 30), (0, 40)), ((3, 10), (9, 14)), ((56, 70), (48, 80)), ((360, 395), (377, 400)), ((1234, 2000), (1300, 1990)), ((0, 1000), (7, 1200)), ((41, 395), (3600, 20000))]:
        interval = confint_proportions_2indep(b[0], b[1], a[0], a[1], method="newcomb", compare="diff", alpha=0.05)
        p = stats.fisher_exact([[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]]).pvalue
        yield {"a": a, "b": b, "interval": list(map(float, interval)), "p": float(p)}


def unpaired_means():
    """Welch's test of two samples."""
    draw = np.random.default_rng(8)
    for n, m in [(2, 2), (5, 40), (30, 31), (400, 250)]:
        a, b = draw.normal(size=n), 2 * draw.normal(size=m) + 0.3
        test = stats.ttest_ind(b, a, equal_var=False)
        yield {"a": a.tolist(), "b": b.tolist(), "p": float(test.pvalue), "interval": list(map(float, test.confidence_interval(0.95)))}


def adjusted():
    draw = np.random.default_rng(7)
    for n in [1, 2, 5, 20]:
        p = np.round(draw.random(n) ** 3, 3)
        yield {"p": p.tolist(), "adjusted": multipletests(p, method="fdr_bh")[1].tolist()}


def power():
    """Items that a difference needs; the harness is asked for the difference that so many items show."""
    for effect in [0.01, 0.05, 0.155]:
        for p in [0.5, 0.2]:
            sd = np.sqrt(2 * p * (1 - p))
            n = float(normal_sample_size_one_tail(effect, 0.8, 0.025, std_null=sd, std_alternative=sd))
            yield {"effect": effect, "p": p, "sd": float(sd), "n": n}


def tries():
    for n, right in [(1, 0), (1, 1), (5, 2), (10, 3), (10, 9), (200, 7)]:
        for k in [1, 2, 5, 10, 100]:
            if k <= n:
                total = comb(n, k, exact=True)
                any_right = 1 - comb(n - right, k, exact=True) / total
                yield {"n": n, "right": right, "k": k, "any": any_right, "all": comb(right, k, exact=True) / total}


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
    {
        "wilson": list(wilson()),
        "mcnemar": list(test()),
        "bootstrap": list(bootstrap()),
        "predictions": predictions(),
        "texts": texts(),
        "quantiles": list(quantiles()),
        "shares": list(shares()),
        "means": list(means()),
        "clustered_shares": list(clustered_shares()),
        "paired_shares": list(paired_shares()),
        "unpaired_shares": list(unpaired_shares()),
        "unpaired_means": list(unpaired_means()),
        "adjusted": list(adjusted()),
        "power": list(power()),
        "tries": list(tries()),
    },
    open(1, "w", encoding="utf-8"),
    ensure_ascii=False,
    indent=None,
)
