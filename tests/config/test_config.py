"""The configuration: fields are used, files load, wrong values are refused."""

import ast
import io
import json
import pathlib
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pytest
from made.tables import made_table
from ml_collections import ConfigDict

from avemo_jax.config import fields as config_lib
from avemo_jax.config import reference
from avemo_jax.config.checks import check_config
from avemo_jax.config.field_table import FIELDS, GROUPS
from avemo_jax.config.fields import (
    base_config,
    changed_fields,
    flatten,
    identity,
    to_plain,
)
from avemo_jax.config.flags import read_config
from avemo_jax.config.recipe_files import (
    file_and_argument,
    recipe_file,
    recipe_names,
    run_recipe,
)
from avemo_jax.config.workdir_config import take_workdir
from avemo_jax.training.objective import configured_loss

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").rglob("*.py"))
# Reads by name, and checks of values, do not count as use.
PACKAGE = ROOT / "avemo_jax"
SOURCES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE / "config"]
BY_NAME = {field.name: field for field in FIELDS}
CHOICES = {field.name: field.choices for field in FIELDS if field.choices}
IDENTITIES = {
    "EXPR mlp": "a1b9136b",
    "AU transformer": "d50ef87e",
    "VA mlp": "c2fd6e72",
    "VA mlp, original": "b5dd731b",
    "EXPR transformer, original": "7f3c02ee",
}
OWN_RECIPE = """
from ml_collections import ConfigDict

def get_config(*argument):
    return ConfigDict({"called_with": argument})
"""
NUMBERS = [field for field in FIELDS if field.value_type in (int, float)]


def chain(node: ast.AST) -> list[str] | None:
    """Names of ``a.b["c"].get("d")``, None for what is no such chain."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        name, inner = node.attr, chain(node.value)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        name, inner = str(node.slice.value), chain(node.value)
    elif key := got(node):
        name, inner = key, chain(node.func.value)
    else:
        return None
    return None if inner is None else [*inner, name]


def got(node: ast.AST) -> str | None:
    """The "d" of ``x.get("d", ...)``."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    known = node.func.attr == "get" and node.args
    if not known or not isinstance(node.args[0], ast.Constant):
        return None
    return str(node.args[0].value)


def fields_read(source: str) -> Iterator[str]:
    """Dotted names that are read from something called config, or a part of it."""
    nodes = list(ast.walk(ast.parse(source)))
    parts = {
        node.targets[0].id: chain(node.value)
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in nodes:
        is_read = isinstance(getattr(node, "ctx", None), ast.Load)
        names = chain(node) if is_read or got(node) else None
        if names and "config" in (part := parts.get(names[0]) or []):
            names = [*part, *names[1:]]
        if names and "config" in names[:-1]:
            yield ".".join(names[names.index("config") + 1 :])


def test_reader_tells_reading_from_setting():
    source = 'config.a.b = config.c.d\nuse(card.config["e"]["f"], other.g)'
    assert {"c.d", "e.f"} <= set(fields_read(source))
    assert not {"a.b", "g"} & set(fields_read(source))


def test_reader_sees_what_is_got_with_a_default():
    source = 'part = config.get("a", {})\npart.get("b", 1)\nconfig.get("c").get("d")'
    source += '\nother = env.get("e", {})\nother.get("f")'
    assert {"a.b", "c.d"} <= set(fields_read(source))
    assert not {"e.f", "f", "b"} & set(fields_read(source))


# --- Fields that texts name ----------------------------------------------------------

_TEXTS = [
    path
    for folder in ("avemo_jax", "data_builders", "configs", "scripts")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".sh")
]
_TEXTS += [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
_TEXTS += [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/ways_in/*.md")]
# The last name of config.json or config.py is no field.
_FIELD = re.compile(r"(?<![\w./])(?:--)?config\.([a-z_]+(?:\.[a-z_]+)*)")
_SUFFIXES = {"json", "py"}


def fields_named(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of what texts call ``config.NAME`` or ``--config.NAME``.

    Of a module only strings and comments are texts: in code, ``config`` may be another
    thing.
    """
    source = path.read_text(encoding="utf-8")
    if not _FIELD.search(source):
        return
    texts: list[tuple[int, str]] = list(enumerate(source.splitlines(), 1))
    if path.suffix == ".py":
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        texts = [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]
        texts += [
            (node.lineno, node.value)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    for line, text in texts:
        for match in _FIELD.finditer(text):
            if match[1] not in _SUFFIXES:
                yield line, match[1]


PLAIN = base_config("EXPR", "mlp")


def is_field(name: str) -> bool:
    """Whether the configuration has a field, or a group of fields, of this name."""
    part = PLAIN
    for step in name.split("."):
        if not isinstance(part, ConfigDict) or step not in part:
            return False
        part = part[step]
    return True


def test_reader_of_fields_named_in_texts(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        '"""Set config.a.b, or --config.c=1; see config.json and my.config.d."""\n'
        "config.e.f = other  # as config.g says\n"
        'raise ValueError(f"config.h.{name} is {value}; change " "config.i.j")\n'
    )
    assert {name for _, name in fields_named(module)} == {"a.b", "c", "g", "h", "i.j"}
    page = tmp_path / "page.md"
    page.write_text("first\n`--config.k.l=3` and config.m")
    assert list(fields_named(page)) == [(2, "k.l"), (2, "m")]


def test_every_field_that_a_text_names_exists():
    named = [(path, *found) for path in _TEXTS for found in fields_named(path)]
    assert len(named) > 50  # else the reader sees nothing
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: config.{name}"
        for path, line, name in named
        if not is_field(name)
    ]
    assert not wrong, "no such fields; base_config has others: " + ", ".join(wrong)


@pytest.fixture(scope="module")
def used() -> set[str]:
    return {field for path in SOURCES for field in fields_read(path.read_text())}


@pytest.mark.parametrize("name", sorted(flatten(base_config("EXPR", "mlp"))))
def test_every_field_is_read_somewhere(name, used):
    assert name in used, f"config.{name} changes nothing: use it, or remove it"


TRAINS = re.compile(r"Trains with ((?:\w+ [\d.e-]+(?:, )?)+)[.;]")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_loads_as_on_the_command_line(path):
    """By its path and by its name, and it trains with what it says."""
    config = read_config(str(path), [])
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    said = TRAINS.search(" ".join(text.split()))[1]
    values = dict(pair.split() for pair in said.split(", "))
    sizes = {"batch_size", "num_epochs"} if config.batch_size else set()
    assert values.keys() >= {"learning_rate", "dropout"} | sizes
    assert {name: float(value) for name, value in values.items()} == {
        name: config[name] for name in values
    }
    name = str(path.relative_to(ROOT / "configs").with_suffix(""))
    assert flatten(read_config(name, [])) == flatten(config)
    assert config.is_locked
    if path.parent.name == "hsemotion":
        assert config.data.features == "enet_b0_8_va_mtl"
        assert path.stem == config.task.lower()
    elif path.parent.name == "abaw10":
        assert config.data.features.startswith("dinov2_vitb14+")
        assert path.stem == config.task.lower()
    else:
        assert config.data.features == config_lib.DEFAULT_FEATURES
        several = "joint" if "+" in config.task else config.task.lower()
        assert path.stem == f"{several}_{config.head.kind}"
    assert (config.protocol == "original") is (path.parent.name == "original")
    check_config(config)
    named = read_config(f"{path}:vggish", [])
    assert named.data.features == "vggish"


def test_there_is_a_file_for_each_task_and_head():
    names = {
        f"{t}_{h}.py" for t in ("expr", "au", "va") for h in ("mlp", "transformer")
    }
    for folder in (ROOT / "configs", ROOT / "configs" / "original"):
        assert names <= {path.name for path in folder.iterdir()}
    assert (ROOT / "configs" / "joint_mlp.py").is_file()
    assert (ROOT / "configs" / "joint_transformer.py").is_file()
    for folder in ("hsemotion", "abaw10"):
        names = {path.name for path in (ROOT / "configs" / folder).iterdir()}
        assert names >= {"expr.py", "au.py", "va.py"}


def test_recipes_are_found_by_name(tmp_path, monkeypatch):
    names = {str(p.relative_to(ROOT / "configs").with_suffix("")) for p in FILES}
    assert set(recipe_names()) == names
    monkeypatch.chdir(tmp_path)
    file = recipe_file("original/va_mlp")
    assert file.samefile(ROOT / "configs" / "original" / "va_mlp.py")
    own = tmp_path / "expr_mlp.py"
    own.write_text(OWN_RECIPE)
    assert run_recipe(own).called_with == ()
    assert run_recipe(own, "face+sound").called_with == ("face+sound",)
    assert file_and_argument(r"C:\own.py") == (r"C:\own.py", None)
    assert file_and_argument("C:/own.py:a:b") == ("C:/own.py", "a:b")
    assert file_and_argument("c:vggish") == ("c", "vggish")
    own.write_text("config = 1\n")
    with pytest.raises(ValueError, match=r"expr_mlp\.py has no function get_config"):
        run_recipe(own)
    for wrong in ("expr", "../configs/expr_mlp", "configs/expr_mlp.py", ""):
        message = (
            rf"no configuration '{wrong}'; (did you mean .*\? )?expected a file or "
        )
        message += r"one of au_cross_attention, .*"
        message += r"original/va_transformer; name one: --config expr_mlp"
        with pytest.raises(ValueError, match=message):
            recipe_file(wrong)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"is the folder of a run; .*: name .*config.json"
    ):
        recipe_file(str(tmp_path))


def test_the_page_and_the_help_have_every_field_and_recipe():
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert page == reference.page(), "python -m avemo_jax.config.reference > that page"
    text, names = reference.fields_text(80), reference.recipes_text(80)
    for field in FIELDS:
        assert f"\n  {field.name}=" in text
        assert f"`{field.name}`" in page
    assert {name.split(".")[0] for name in BY_NAME if "." in name} | {""} == set(GROUPS)
    assert all(f"\n  {name} " in names for name in recipe_names())
    assert max(map(len, [*text.splitlines(), *names.splitlines()])) <= 200


def test_the_help_is_had_without_jax():
    code = (
        "import sys; from avemo_jax.config import reference; reference.fields_text();"
    )
    code += "sys.exit(' '.join({'jax', 'flax'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_flags_override_every_kind_of_field():
    fields = (
        "--config.data.dir=/some/store",
        "--config.workdir=here",
        "--config.data.device_budget_gb=0.5",
        "--config.data.cache_dir=/cache",
        "--config.learning_rate=3e-4",
        "--config.sweep.learning_rate=(1e-4, 1e-3)",
        "--config.log.progress=false",
        "--config.head.kind=transformer",
    )
    config = read_config("expr_mlp", fields)
    assert config.data.dir == "/some/store"
    assert config.workdir == "here"
    assert config.data.device_budget_gb == 0.5
    assert config.data.cache_dir == "/cache"
    assert config.learning_rate == 3e-4
    assert config.sweep.learning_rate == (1e-4, 1e-3)
    assert config.log.progress is False
    assert config.head.kind == "transformer"
    check_config(config)


def test_original_attends_over_the_batch_where_there_is_attention():
    def attention(head: str) -> tuple[str, str]:
        chosen = config_lib.original_config("EXPR", head).head
        return chosen.attention, chosen.positions

    default = base_config("EXPR", "mlp").head
    assert attention("transformer") == ("batch", "none")
    assert attention("mlp") == (default.attention, default.positions)


def test_protocol_is_a_label_that_changes_no_loss():
    """What the original's recipe does otherwise, other fields say."""
    table = made_table("VA")
    logits = np.random.default_rng(0).normal(size=table.labels.shape).astype("f4")

    def loss(**fields) -> float:
        config = base_config("VA", "mlp")
        config.update_from_flattened_dict(fields)
        made = configured_loss(config, table)
        arrays = (logits, table.labels, table.valid)
        return float(made(*map(jnp.asarray, arrays)))

    assert loss(protocol="original") == loss()
    assert loss(**{"loss.va_variance": "sample"}) != loss()
    original = config_lib.original_config("VA", "mlp")
    assert original.protocol == "original"
    assert original.loss.va_variance == "sample"


def test_placeholders_are_none_until_given():
    config = read_config("expr_mlp", [])
    assert config.data.dir is None
    assert config.workdir is None
    assert config.data.device_budget_gb is None
    assert config.data.cache_dir is None


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("learnin_rate", "learnin_rate"),
        ("data.direction", "direction"),
        ("train.clip", "clip"),
        ("x.y", "x"),
    ],
)
def test_unknown_field_is_an_error_that_names_it(name, part):
    with pytest.raises(ValueError, match=f"no such field in .*{part}"):
        read_config("expr_mlp", [f"--config.{name}=1"])
    with pytest.raises((AttributeError, KeyError), match=part):
        base_config("EXPR", "mlp").update_from_flattened_dict({name: 1})


def changed(name: str, value: object, task: str = "EXPR"):
    config = base_config(task, "mlp")
    config.update_from_flattened_dict({name: value})
    return config


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_choice_that_is_none_is_refused(name):
    words = ", ".join(CHOICES[name])
    message = (
        rf"config\.{name} is 'nonesuch'; expected one of {re.escape(words)}; correct"
    )
    with pytest.raises(ValueError, match=message):
        check_config(changed(name, "nonesuch"))


@pytest.mark.parametrize(
    ("name", "choice"), [(name, one) for name, all_ in CHOICES.items() for one in all_]
)
def test_every_choice_is_taken(name, choice):
    task = "EXPR" if name.startswith("postprocess") else "VA"
    check_config(changed(name, choice, task=task))


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_numbers_out_of_range_are_refused(field):
    """Just inside is taken, just outside and what is no number refused."""
    step = 1 if field.value_type is int else 0.5
    inside = [one for one in (field.least, field.most) if one is not None]
    outside = [] if field.least is None else [field.least - step]
    outside += [] if field.most is None else [field.most + step]
    outside += [] if field.below is None else [field.below]
    outside += [float("nan"), float("inf")] if field.value_type is float else []
    for value in inside:
        assert field.takes(field.value_type(value))
    name = re.escape(field.name)
    for value in map(field.value_type, outside):
        wrong = (value,) if field.several else value
        message = rf"config\.{name} is .*{value}; expected a (whole )?number.*; correct"
        with pytest.raises(ValueError, match=message):
            check_config(changed(field.name, wrong))


def test_every_number_and_word_has_a_range():
    """A field that nobody checks fails late, or never."""
    free = {"task", "data.features", "blend.features"}  # checked beside other fields
    free |= {"data.dir", "workdir", "data.cache_dir"}
    free |= {"data.protocol"}  # what there may be, the store knows
    ranged = {f.name for f in FIELDS if f.choices or f.least is not None}
    switches = {f.name for f in FIELDS if f.value_type is bool}
    assert ranged | switches | free == set(BY_NAME)
    assert not (ranged | switches) & free


@pytest.mark.parametrize("several", [(True,), ("1",), (None,)])
def test_entries_of_lists_are_numbers(several):
    with pytest.raises(ValueError, match=r"config\.sweep\.dropout is .* each; correct"):
        check_config(changed("sweep.dropout", several))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "MOOD"}, r"unknown task 'MOOD'; config\.task may be EXPR"),
        ({"data.folds": 1}, r"config\.data\.folds is 1"),
        ({"data.folds": 3, "data.fold": 3}, r"config\.data\.fold 3"),
        ({"data.fold": 0}, r"config\.data\.folds is 0"),
        (
            {"data.folds": 2, "data.train_on": "train+dev"},
            r"config\.data\.train_on='train'",
        ),
        ({"train.select_by": "ccc_valence"}, r"config\.train\.select_by"),
        (
            {"head.kind": "transformer", "head.causal": True},
            r"head\.causal is True with config\.head\.kind='transformer'; expected",
        ),
        (
            {"train.modality_dropout": 0.1, "train.eval_mode": True},
            r"modality_dropout is 0\.1 with config\.train\.eval_mode=True; expected 0",
        ),
        (
            {"head.kind": "transformer", "head.attention": "batch"},
            r"positions 'learned' with attention 'batch'; .*config\.head\.positions",
        ),
        ({"learning_rate": float("nan")}, r"config\.learning_rate is nan"),
        ({"postprocess.half_widths": (1.5,)}, r"half_widths is .* with 1\.5; expected"),
        ({"blend.features": ("a", "")}, r"config\.blend\.features is \('a', ''\)"),
        ({"blend.features": ("a", "a")}, r"each head with other ones"),
        ({"data.features": "a", "blend.features": ("a",)}, r"data\.features 'a'"),
        (
            {"task": "AU", "postprocess.correction": "prior"},
            r"correction is 'prior' .* for task AU; both are for EXPR only",
        ),
        (
            {"task": "VA", "postprocess.calibration": "scaling"},
            r"calibration is 'scaling' for task VA, .* expected classes or units",
        ),
        (
            {"task": "AU+VA", "postprocess.set_level": 0.9},
            r"set_level is 0.9 for task AU\+VA; expected a task of classes",
        ),
        ({"task": "VA", "blend.trust_extractor": True}, r"trust_extractor True"),
    ],
)
def test_values_that_contradict_are_refused(fields, message):
    config = base_config("EXPR", "mlp")
    config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message):
        check_config(config)


def test_identity_leaves_out_where_and_how_shown():
    plain = base_config("EXPR", "mlp")
    for name, value in {
        "workdir": "elsewhere",
        "log.progress": False,
        "log.tensorboard": False,
        "log.report": False,
        "data.device_budget_gb": 1.0,
        "data.cache_dir": "/cache",
        "distributed.heartbeat_s": 60,
    }.items():
        other = changed(name, value)
        assert identity(other) == identity(plain), name
        assert changed_fields(plain.to_dict(), other.to_dict()) == []


def test_identities_stay_what_they_are():
    """They name folders of runs, and a run that goes on is told by them."""
    made = {
        "EXPR mlp": base_config("EXPR", "mlp"),
        "AU transformer": base_config("AU", "transformer"),
        "VA mlp": base_config("VA", "mlp"),
        "VA mlp, original": config_lib.original_config("VA", "mlp"),
        "EXPR transformer, original": config_lib.original_config("EXPR", "transformer"),
    }
    assert {name: identity(config) for name, config in made.items()} == IDENTITIES


def test_identity_differs_where_the_result_does():
    free = {"workdir", "log.progress", "log.tensorboard", "log.report"}
    free |= {"data.device_budget_gb", "data.cache_dir", "distributed.heartbeat_s"}
    plain = base_config("EXPR", "mlp")
    seen = {identity(plain)}
    for name, value in flatten(plain).items():
        if name in free:
            continue
        if isinstance(value, bool):
            other = changed(name, not value)
        elif isinstance(value, int | float):
            other = changed(name, value + 1)
        elif isinstance(value, tuple):
            other = changed(name, (0.5,))
        else:
            other = changed(name, 7 if BY_NAME[name].kind is int else "other")
        assert identity(other) not in seen, name
        seen.add(identity(other))
        (line,) = changed_fields(config_lib.to_plain(plain), config_lib.to_plain(other))
        assert line.startswith(f"{name}: ")


def test_identity_is_8_hex_digits_and_the_same_each_time():
    first = identity(base_config("AU", "transformer"))
    assert first == identity(base_config("AU", "transformer"))
    assert len(first) == 8
    assert set(first) <= set("0123456789abcdef")


def test_fields_that_an_older_run_lacks_have_their_defaults(tmp_path):
    plain = to_plain(base_config("own", "mlp"))
    assert plain["head"].pop("standardize") is True
    plain["train"].pop("least_steps")
    (tmp_path / "config.json").write_text(json.dumps(plain))
    again = read_config(str(tmp_path / "config.json"), [])
    assert again.head.standardize is False
    assert again.train.least_steps is None


def test_a_runs_config_is_read_and_repeats_the_run(tmp_path):
    config = read_config("va_mlp", ["--config.learning_rate=0.5"])
    config.workdir = "runs/mine"
    take_workdir(tmp_path, config)
    kept = str(tmp_path / "config.json")
    again = read_config(kept, [])
    assert again.workdir is None
    assert changed_fields(to_plain(config), to_plain(again)) == []
    assert read_config(kept, ["--config.num_seeds=3"]).num_seeds == 3


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("config.json", "print('ran')", "line 1: Expecting value"),
        ("config.json", "[1]", "holds [1]; expected an object"),
        ("config.json", '{"learning_rat": 1.0}', "learning_rat"),
        ("config.json", '{"learning_rate": "x"}', "learning_rate"),
        ("config.json", '{"head": 3}', "head"),
        ("config.txt", "print('ran')", "has the ending '.txt'; expected .py"),
    ],
)
def test_only_python_files_are_run(tmp_path, capsys, file, text, told):
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        read_config(str(path), [])
    assert told in str(caught.value)
    assert "ran" not in capsys.readouterr().out
