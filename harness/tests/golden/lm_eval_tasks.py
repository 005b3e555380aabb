"""What lm-eval makes of a folder of task files, as JSON lines for the test beside this file.

    python lm_eval_tasks.py yaml FOLDER     one line per YAML file: its value as PyYAML reads it
    python lm_eval_tasks.py select FOLDER   one line per task, group and tag: what TaskManager makes of the name
"""

import json
import math
import sys
from datetime import date
from pathlib import Path

import yaml


def plain(value):
    """A value as the Rust reader gives it: see the comment at the top of yaml.rs."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


def function(folder):
    def construct(loader, node):
        module, _, name = loader.construct_scalar(node).rpartition(".")
        return {"!function": {"file": str(folder / (module.replace(".", "/") + ".py")), "name": name}}

    return construct


def loader(folder):
    class Loader(yaml.CSafeLoader):
        pass

    yaml.add_constructor("!function", function(folder), Loader=Loader)
    return Loader


def read(root):
    # Templates carry names such as _default_template_yaml.
    for path in sorted(path for path in root.rglob("*yaml") if path.is_file()):
        line = {"path": str(path)}
        try:
            line["value"] = plain(yaml.load(path.read_bytes(), Loader=loader(path.parent)))
        except (yaml.YAMLError, ValueError) as error:
            line["error"] = str(error).replace("\n", " ")
        print(json.dumps(line))


def select(root):
    import logging

    logging.disable(logging.CRITICAL)
    from lm_eval.api.group import Group
    from lm_eval.api.task import Task
    from lm_eval.config.task import TaskConfig
    from lm_eval.tasks import TaskManager, _factory, _yaml_loader

    # No function is imported and no data set is loaded: only what the files say is of interest.
    _yaml_loader._mk_function_ctor = lambda folder, resolve: function(folder)

    class Configured(Task):
        def __init__(self, config):
            self._config = TaskConfig(**config)

        @property
        def task_name(self):
            return self._config.task

    for name in ["has_training_docs", "has_validation_docs", "has_test_docs", "doc_to_text", "doc_to_target"]:
        setattr(Configured, name, None)
    for name in ["construct_requests", "process_results", "aggregation", "higher_is_better"]:
        setattr(Configured, name, None)
    Configured.__abstractmethods__ = frozenset()
    _factory.ConfigurableTask = Configured

    # Files are read once; the factory changes what it gets, so each caller has a copy.
    import copy

    load, known = _yaml_loader.load_yaml, {}

    def load_once(path, **options):
        key = str(path)
        if key not in known:
            known[key] = load(path, resolve_func=False)
        return copy.deepcopy(known[key])

    _factory.load_yaml = load_once
    manager = TaskManager(include_path=str(root), include_defaults=False)
    fields = [name for name in TaskConfig.__dataclass_fields__ if name != "fewshot_config"]
    for name in manager.all_tasks:
        entry = manager.task_index[name]
        line = {"name": name, "kind": entry.kind.name}
        try:
            loaded = manager.load([name])
            line["tasks"] = [task.task_name for task in loaded["tasks"].values()]
            line["groups"] = loaded.get("group_map", {})
            if entry.kind.name == "TASK":
                (task,) = loaded["tasks"].values()
                line["config"] = plain({field: getattr(task._config, field) for field in fields})
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(line))


if __name__ == "__main__":
    {"yaml": read, "select": select}[sys.argv[1]](Path(sys.argv[2]).resolve())
