"""Optuna's optimiser behind one JSON object a line on stdin and stdout, for leverd's gauntlet.

{"do": "open", "seed": 1, "levers": {"max_wal_size": ["32MB", "1GB"]}, "present": {"max_wal_size": "32MB"}, "distance": 1.2}
{"do": "ask"}                       -> {"values": {"max_wal_size": "1GB"}}
{"do": "tell", "distance": 0.3}     -> {}
{"do": "best"}                      -> {"values": {...}, "distance": 0.3}

Each line is answered by one line; {"error": "..."} where it cannot be done.
"""

import json
import sys

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Search:
    def __init__(self):
        self.study = self.space = self.trial = None

    def open(self, asked):
        sampler = optuna.samplers.TPESampler(seed=asked["seed"])
        self.study = optuna.create_study(sampler=sampler, direction="minimize")
        self.space = {name: CategoricalDistribution(values) for name, values in asked["levers"].items()}
        # What is known already costs no cycle.
        present = create_trial(params=asked["present"], distributions=self.space, value=asked["distance"])
        self.study.add_trial(present)
        return {}

    def ask(self, _):
        self.trial = self.study.ask(self.space)
        return {"values": self.trial.params}

    def tell(self, asked):
        self.study.tell(self.trial, asked["distance"])
        return {}

    def best(self, _):
        return {"values": self.study.best_params, "distance": self.study.best_value}


def main():
    search = Search()
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            if asked["do"] not in ("open", "ask", "tell", "best"):
                raise ValueError(f"unknown: {asked['do']}")
            answer = getattr(search, asked["do"])(asked)
        except Exception as error:  # whatever it is, the other side must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
