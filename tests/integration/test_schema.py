#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""dist/policy.schema.json, for editors, against the parser: the same corpus, the same keys, the same words."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CTL = os.environ.get("PILE_CTL", str(ROOT / "build/pileguardctl"))
CORPUS = ROOT / "tests/unit/policy"
SCHEMA = json.loads((ROOT / "dist/policy.schema.json").read_text(encoding="utf-8"))
GROUP = SCHEMA["properties"]["groups"]["items"]

# What a schema cannot say: two keys or two groups against each other, ranges of quantities, how YAML itself is written.
BEYOND = {
    "two keys": ["baseline-over-cap", "deadline-hides-proof", "enforce-evict", "enforce-shed", "enforce-stop-cgroup",
                 "enforce-stop-ssh", "place-deadline", "place-missing", "place-throttle", "place-unit",
                 "protect-throttled", "workers-max-events"],
    "two groups": ["claim-cgroup", "claim-cgroup-listen", "claim-mixed", "claim-mixed-inside", "claim-one-listen",
                   "claim-slice", "claim-unit", "enforce-stop-part", "enforce-throttle", "listen-twice", "match-placed",
                   "match-twice", "name-twice"],
    "two entries": ["exempt-twice", "fingerprint-twice", "shed-exempt-twice", "speaks-first-twice"],
    "ranges": ["budget-tiny", "cache-life-long", "dead-after-long", "dead-after-short", "deadline-short", "duration-huge",
               "match-user-long", "match-user-nobody",
               "notice-short", "probe-every-long", "reserve-tiny", "shed-share-all"],
    "what an address covers": ["exempt-all", "exempt-all-v4", "shed-exempt-all", "speaks-first-all"],
    "where a path leads": ["cgroup-mount"],
    "what a user runs": ["match-root", "match-root-zeros"],
    "YAML": ["baseline-hex", "key-double", "key-double-top", "yaml-anchor", "yaml-tag", "yaml-multiline"],
}


class Loader(yaml.SafeLoader):
    """As editors read it: YAML 1.2 has no dates, and "yes" is a word."""


Loader.yaml_implicit_resolvers = {first: [r for r in resolvers if r[0] != "tag:yaml.org,2002:timestamp" and
                                          not (r[0] == "tag:yaml.org,2002:bool" and first in "yYnNoO")]
                                  for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}


def editor_says(path):
    """What is wrong, or None."""
    try:
        jsonschema.validate(yaml.load(path.read_bytes(), Loader), SCHEMA)
    except (yaml.YAMLError, ValueError, jsonschema.ValidationError) as e:
        return str(e)
    return None


def parser_says(text):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        run = subprocess.run([CTL, "--socket", "/nonexistent", "policy", "check", f.name], capture_output=True, text=True,
                             check=False)
    return run.stderr if run.returncode else None


def words_in(sentence):
    """"write one of a, b or c" -> {"a", "b", "c"}"""
    return set(re.split(r", | or ", re.search(r"write (?:one of )?([\w, ]+)$", sentence.strip()).group(1)))


class Corpus(unittest.TestCase):
    def test_schema_is_a_schema(self):
        jsonschema.Draft7Validator.check_schema(SCHEMA)

    def test_good(self):
        files = sorted((CORPUS / "good").glob("*.yaml")) + [ROOT / "dist/policy.yaml"]
        self.assertGreater(len(files), 10)
        for path in files:
            with self.subTest(path=path.name):
                self.assertIsNone(editor_says(path))

    def test_bad(self):
        beyond = {name for names in BEYOND.values() for name in names}
        files = {path.stem: path for path in (CORPUS / "bad").glob("*.yaml")}
        self.assertEqual(beyond - set(files), set())
        for name, path in sorted(files.items()):
            with self.subTest(path=path.name):
                self.assertEqual(editor_says(path) is None, name in beyond, "passes" if name not in beyond else "is not beyond")


class Keys(unittest.TestCase):
    """The parser names what it knows when it meets what it does not know."""

    def test_same_keys(self):
        self.assertEqual(words_in(parser_says("zzzzzzzz: 1\n")), set(SCHEMA["properties"]))
        self.assertEqual(words_in(parser_says("groups:\n  - name: a\n    unit: a.service\n    zzzzzzzz: 1\n")),
                         set(GROUP["properties"]))

    def test_same_words(self):
        tested = 0
        for key, value in {**SCHEMA["properties"], **GROUP["properties"]}.items():
            if "enum" not in value:
                continue
            place = f"{key}: zzzz\n" if key in SCHEMA["properties"] else f"groups:\n  - name: a\n    {key}: zzzz\n"
            self.assertEqual(words_in(parser_says(place)), set(value["enum"]), key)
            tested += 1
        self.assertEqual(tested, 5)

    def test_same_defaults(self):
        """A policy that writes every default is the built-in one."""
        def write(properties):
            return "".join(f"{key}: {json.dumps(value['default'])}\n" for key, value in properties.items() if "default" in value)
        with tempfile.TemporaryDirectory() as folder:
            hashes = []
            for text in ("groups: [{name: a, unit: a.service}]\n",
                         write(SCHEMA["properties"]) + "groups:\n  - name: a\n    unit: a.service\n" +
                         "".join(f"    {line}\n" for line in write(GROUP["properties"]).splitlines())):
                path = pathlib.Path(folder) / "policy.yaml"
                path.write_text(text, encoding="utf-8")
                run = subprocess.run([CTL, "--json", "--socket", "/nonexistent", "policy", "check", str(path)],
                                     capture_output=True, text=True, check=False)
                self.assertEqual(run.returncode, 0, run.stdout)
                hashes.append(json.loads(run.stdout)["hash"])
        self.assertEqual(hashes[0], hashes[1])

    def test_examples_pass_both(self):
        tested = 0
        for key, value in GROUP["properties"].items():
            for example in value.get("examples", []):
                text = "groups:\n  - name: a\n" + ("" if key in ("unit", "cgroup", "match") else "    unit: a.service\n")
                text += f"    {key}: {json.dumps(example)}\n"
                self.assertIsNone(parser_says(text), text)
                jsonschema.validate(yaml.load(text, Loader), SCHEMA)
                tested += 1
        self.assertGreater(tested, 5)


if __name__ == "__main__":
    unittest.main()
