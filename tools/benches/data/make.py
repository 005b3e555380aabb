"""Makes the rows that the benchmark of data runs on: JSON lines, all from one seed.

    python make.py FILE ROWS

971,037 rows make 1 GB. A row has an id, a text of some hundred words, a label, a score and nested facts about its origin; one
in twenty repeats the content of an earlier one, and one in ten is short.
"""
import json
import random
import sys

ONSETS = "b br c ch d dr f fl g gr h j k l m n p pl pr qu r s sh sl st t th tr v w".split()
NUCLEI = "a e i o u ai ea ee oa ou".split()
CODAS = ["", "", "n", "r", "s", "t", "l", "m", "nd", "st", "ck", "ng"]
LABELS = "billing delivery account refund technical praise complaint question other".split()
SOURCES = "web mail chat phone".split()


def words(rng, count):
    def syllable():
        return rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS)

    return ["".join(syllable() for _ in range(rng.choice((1, 1, 2, 2, 3)))) for _ in range(count)]


def text(rng, vocabulary):
    # Frequent words first, as in real texts.
    count = 8 if rng.random() < 0.1 else rng.randrange(70, 160)
    picked = [vocabulary[int(len(vocabulary) * rng.random() ** 3)] for _ in range(count)]
    for at in range(0, count, rng.randrange(7, 19)):
        picked[at] = picked[at].capitalize()
        picked[at - 1] += rng.choice((".", ".", "!", "?", ",\n"))
    return "  " * rng.randrange(2) + " ".join(picked)


def main():
    path, rows = sys.argv[1], int(sys.argv[2])
    rng = random.Random(7)
    vocabulary = words(rng, 20_000) + ["größer", "naïve", "\"quoted\"", "日本", "a\\b"]
    recent = []
    with open(path, "w", encoding="utf-8") as file:
        for number in range(rows):
            if recent and rng.random() < 0.05:
                content, label = rng.choice(recent)
            else:
                content, label = text(rng, vocabulary), rng.choice(LABELS)
                recent = (recent + [(content, label)])[-1000:]
            meta = {"source": rng.choice(SOURCES), "turns": rng.randrange(1, 9), "tags": words(rng, rng.randrange(4)),
                    "lang": {"code": rng.choice(("en", "de")), "p": round(rng.random(), 4)}}
            row = {"id": number, "text": content, "label": label, "score": round(rng.gauss(0, 1), 6), "meta": meta}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


main()
