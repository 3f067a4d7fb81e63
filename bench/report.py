# SPDX-License-Identifier: MIT
"""The tables of bench/compare, from its JSON."""

from harness import MIB, median, ratio, table

PREFACE = ("# Results\n\n"
           "Written by `bench/compare --results`; [README.md](README.md) says how it measures.\n\n")
PARTS = ["computing", "reading", "SQL", "hand-offs", "sampling and text"]


def markdown(result):
    machine, settings = result["machine"], result["settings"]
    stream = {int(threads): median(rates) for threads, rates in result["stream"].items()}
    bandwidth = ", ".join(f"{rate / 1e9:.1f} GB/s by {plural(threads, 'thread')}"
                          for threads, rate in stream.items())
    blocks = [f"{machine['date']}: {machine['cpu']}, {machine['cores']} cores, "
              f"{machine['memory_gib']} GiB, Linux {machine['kernel']}. "
              f"{plural(settings['rounds'], 'round')}, {settings['tokens']} tokens decoded, "
              f"{settings['peer']}. Read from memory: {bandwidth}."]
    if machine["load"] > 0.5:
        blocks.append(f"**The machine was not quiet (load {machine['load']:.1f}).**")
    for model in result["models"]:
        blocks += [f"## {model['name']}", rates_table(model, stream), files_table(model)]
    for make in (startup_table, parts_table, disturbed_table):
        text = make(result["models"])
        if text:
            blocks.append(text)
    return "\n\n".join(blocks) + "\n"


def plural(count, what):
    return f"{count} {what}" + ("" if count == 1 else "s")


def pairs(model):
    """(ours, theirs) that are compared."""
    return [(ours, theirs) for ours in model["sides"] if ours["ours"]
            for theirs in model["sides"] if not theirs["ours"] and theirs["weights"] == ours["weights"]]


def kind_of(side):
    return side["name"].split()[-1]


def rates_table(model, stream):
    head = ["weights", "case", "threads", "llmsql, tok/s", "llama.cpp, tok/s", "ratio", "llmsql, GB/s",
            "of the machine's", "llama.cpp, GB/s", "of the machine's"]
    rows = []
    for ours, theirs in pairs(model):
        for key, rates in ours["rates"].items():
            case, size, threads = key.split()
            mine, other = median(rates), median(theirs["rates"][key])
            bandwidth = []
            for side, rate in ((ours, mine), (theirs, other)):
                used = rate * side["bytes"]
                bandwidth += ([f"{used / 1e9:.1f}", f"{used / stream[int(threads)]:.0%}"]
                              if case == "decode" else ["–", "–"])
            rows.append([f"{kind_of(ours)} / {kind_of(theirs)}",
                         f"prefill {size}" if case == "prefill" else f"decode at {size}", threads,
                         f"{mine:.1f}", f"{other:.1f}", f"{ratio(rates, theirs['rates'][key]):.2f}×",
                         *bandwidth])
    return table(head, rows)


def files_table(model):
    head = ["what", "head", "MB a pass", "peak RSS, MiB", "perplexity"]
    rows = [[side["name"], side["head"], f"{side['bytes'] / 1e6:.1f}", f"{side['rss'] / MIB:.0f}",
             f"{side['perplexity']:.2f}" if "perplexity" in side else "–"] for side in model["sides"]]
    return f"Made of {model['source']}:\n\n" + table(head, rows)


def startup_table(models):
    rows = []
    for model in models:
        sides = [side for side in model["sides"] if side.get("startup")]
        if len(sides) == 2:
            first, second = (median(side["startup"]) * 1e3 for side in sides)
            rows.append([model["name"], " / ".join(map(kind_of, sides)), f"{first:.0f}", f"{second:.0f}",
                         f"{first / second:.2f}×"])
    return rows and ("## Start-up\n\nFrom starting the program to its first token after a prompt of five, "
                     "page cache warm:\n\n" +
                     table(["model", "weights", "llmsql, ms", "llama.cpp, ms", "time, ratio"], rows))


def parts_table(models):
    rows = []
    for model in models:
        for side in model["sides"]:
            for key, timings in side.get("timing", {}).items():
                size, threads = key.split()
                shares = [median([timing["parts"].get(name, 0) / timing["pass"] for timing in timings])
                          for name in PARTS]
                last = timings[-1]
                rows.append([model["name"], kind_of(side), size, threads, str(last["statements"]),
                             str(last["shared"]), f"{median([t['pass'] for t in timings]):.2f}",
                             *[f"{share:.1%}" for share in shares]])
    return rows and ("## Where a token's time goes\n\n" +
                     table(["model", "weights", "context", "threads", "statements", "jobs", "ms",
                            *PARTS], rows))


def disturbed_table(models):
    rows = []
    for model in models:
        sides = [side for side in model["sides"] if side.get("disturbed")]
        for side in sides:
            quiet, noisy = side["disturbed"]["quiet"], side["disturbed"]["disturbed"]
            rows.append([model["name"], side["name"], f"{median(quiet):.1f}", f"{median(noisy):.1f}",
                         f"{ratio(noisy, quiet):.0%}"])
    return rows and ("## While another process takes one of the cores\n\n" +
                     table(["model", "what", "alone, tok/s", "disturbed, tok/s", "of it"], rows))
