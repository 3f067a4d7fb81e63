#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The pages of llmsqlc --emit=html and llmsql-run --profile=html in headless Chromium: nothing is
complained of, nothing is fetched, the numbers are those of the plan and of the compiler's own listings,
and all is legible and within the page, narrow and wide, light and dark.

LLMSQL_SCREENSHOTS names a folder to leave pictures of the pages in."""

import itertools
import os
import re
import sqlite3
import unittest

from browser import HEIGHTS, Browser, chromium
from programs import FIXTURES, MODELS, SOURCE, compile_model, folder_of, import_gguf, run

SANITIZED = os.environ.get("LLMSQL_SANITIZED") == "1"

# Every text that can be seen: how far it stands out from what is behind it (WCAG's contrast), and its size.
LEGIBILITY = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const faults = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || ['SCRIPT', 'STYLE', 'OPTION', 'title'].includes(element.tagName)) continue;
    if (!element.checkVisibility() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), svg = element instanceof SVGElement;
    let back = behind(svg ? element.ownerSVGElement.parentElement : element);
    const box = element.getBoundingClientRect();
    if (svg) {  // on the mark that it is drawn over, if there is one
      const mark = [...element.ownerSVGElement.querySelectorAll('rect')].reverse().find((rect) => {
        const r = rect.getBoundingClientRect();
        return r.left <= box.left + 1 && r.right >= box.left + 1 && r.top <= box.top + 2 && r.bottom >= box.bottom - 2;
      });
      if (mark) back = rgba(getComputedStyle(mark).fill);
    }
    const [a, b] = [luminance(rgba(svg ? style.fill : style.color)), luminance(back)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
    if (contrast < 4.5 || size < 11)
      faults.push(`${element.tagName} "${element.textContent.trim().slice(0, 40)}": ` +
                  `contrast ${contrast.toFixed(2)}, ${size} px`);
  }
  return faults;
})()"""

NUMBERS = """[...document.querySelectorAll('data[data-name]')].map((e) => [e.dataset.name, Number(e.value)])"""


class Plan:
    """What a plan says, found with SQLite and regular expressions instead of llmsql's own reader."""

    def __init__(self, path):
        self.lines = path.read_text().split("\n")
        init, passes = "\n".join(self.lines).split("--@ init\n")[1].split("--@ forward")
        self.db = sqlite3.connect(":memory:")
        self.options = {}
        for table, options in re.findall(r"CREATE VIRTUAL TABLE temp\.(\w+) USING \w+\((.*)\);", init):
            self.options[table] = dict(re.findall(r"(\w+)='?([^',)]*)", options))
        for table, columns in re.findall(r"INSERT INTO (\w+)\(([^)]*)\) VALUES", init):
            self.db.execute(f"CREATE TABLE IF NOT EXISTS {table}({columns})")
        for statement in re.findall(r"INSERT INTO \w+\([^)]*\) VALUES.*?;\n", init, re.DOTALL):
            self.db.execute(statement)
        passes = re.split(r"--@ (?:chat|stop|end)", passes)[0]
        passes = re.sub(r"^--.*\n?|  --.*$", "", passes, flags=re.MULTILINE)
        passes = re.sub(r"\A.*?(?=INSERT)", "", passes, flags=re.DOTALL)
        self.statements = [s.strip() for s in re.split(r";\s*", passes) if s.strip()]

    def rows(self, query):
        return self.db.execute(query).fetchall()

    def sources(self, statement):
        """(tensors, parameters) that its FROM and WHERE name, of the plain forms."""
        found = {"tensor": set(), "param": set()}
        ids = {alias: (int(first), int(last or first)) for alias, first, last in
               re.findall(r"(\w+)\.id (?:=|BETWEEN) (\d+)(?: AND (\d+))?", statement)}
        for alias, other, offset in re.findall(r"(\w+)\.id = (\w+)\.id \+ (\d+)", statement):
            ids[alias] = tuple(id + int(offset) for id in ids[other])
        for table, alias in re.findall(r"\b(tensor|param) (\w+)", statement.split("FROM", 1)[1]):
            if alias in ids:
                found[table].update(range(ids[alias][0], ids[alias][1] + 1))
        if alone := re.search(r"FROM tensor WHERE id = (\d+)$", statement):
            found["tensor"].add(int(alone[1]))
        return found["tensor"], found["param"]


def listing(toml, what, *options):
    """--emit=memory or =schedule as {what a line begins with: its first number}."""
    text = run("LLMSQLC", toml, f"--emit={what}", "--graph-dir", SOURCE / "graphs", *options).stdout.decode()
    return {name.strip(): int(number) for name, number in
            re.findall(r"^([^\d\n]+?)  +(\d+)(?: .*)?$", text.rsplit("\n\n", 1)[1] if what == "schedule" else text,
                       re.MULTILINE)}


class InBrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        chromium()
        cls.folder = folder_of(cls)
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def page_of(self, toml, *options, name="plan"):
        return compile_model(toml, self.folder / f"{name}.html", "--emit=html", *options)

    def opened(self, path, **how):
        page = self.browser.open(path, **how)
        self.addCleanup(page.close)
        return page

    def check_looks(self, path, name):
        """In every width and theme: no complaint, nothing fetched, nothing outside, all legible."""
        for width, dark in itertools.product(HEIGHTS, (False, True)):
            with self.subTest(page=name, width=width, dark=dark):
                page = self.opened(path, width=width, dark=dark)
                if folder := os.environ.get("LLMSQL_SCREENSHOTS"):
                    page.screenshot(f"{folder}/{name}-{width}-{'dark' if dark else 'light'}.png")
                for layer in (0, 1):  # and what unfolds
                    page.evaluate(f"document.querySelectorAll('details.layer')[{layer}].open = true")
                page.evaluate("document.querySelectorAll('details:not(.layer):not(.step)')"
                              ".forEach((e) => e.open = true)")
                page.evaluate("document.querySelectorAll('details.step')[2].open = true")
                page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
                self.assertEqual(page.complaints(), [])
                self.assertEqual(page.requests(), [path.resolve().as_uri()])
                self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
                self.assertEqual(page.evaluate("document.documentElement.dataset.theme"),
                                 "dark" if dark else "light")
                self.assertEqual(page.evaluate(LEGIBILITY), [])


class PlanPage(InBrowser):
    def check_numbers(self, page, plan, toml, options):
        shown = dict(page.evaluate(NUMBERS))
        self.assertEqual(shown["steps"], len(plan.statements))
        self.assertEqual(shown["arena"], int(plan.options["tensor"]["arena"]))
        memory = listing(toml, "memory", *options)
        self.assertEqual(shown["predicted"], memory["sum"])
        self.assertEqual(shown["peak"], memory["sum"])
        parts = {name[5:]: value for name, value in shown.items() if name.startswith("part ")}
        self.assertEqual(parts, {name: memory[name] for name in parts})
        self.assertEqual(sum(parts.values()), memory["sum"])
        if "residency" not in plan.options:
            self.assertEqual(shown["held"], shown["stored"])
            return
        schedule = listing(toml, "schedule", *options)
        self.assertEqual(shown["budget"], int(plan.options["residency"]["budget"]))
        self.assertEqual(shown["held"], int(plan.options["residency"]["pool"]))
        read = schedule.get("reads, by this schedule", schedule.get("reads, expected"))
        self.assertEqual(shown["read"], read)
        self.assertEqual(shown["schedule lower bound"],
                         next(v for k, v in schedule.items() if k.startswith("lower bound")))
        self.assertEqual(shown["schedule scans in all"],
                         next(v for k, v in schedule.items() if k.startswith("scans")))

    def check_program(self, page, plan):
        steps = page.evaluate("data.steps")
        self.assertEqual([re.sub(r"\s*--.*$", "", s["sql"], flags=re.MULTILINE).strip() for s in steps],
                         plan.statements)
        for step in steps:
            self.assertTrue(plan.lines[step["line"] - 1].startswith(step["sql"].split("\n")[0]))
            tensors, params = plan.sources(step["sql"])
            self.assertEqual(set(step["reads"]), tensors, step["sql"])
            if not any(w["chosen"] for w in step["weights"]):
                self.assertEqual({id for w in step["weights"] for id in range(w["first"], w["last"] + 1)},
                                 params, step["sql"])
        tensors = page.evaluate("data.tensors.map((t) => [t.id, t.name, t.offset])")
        self.assertEqual([tuple(t) for t in tensors], plan.rows("SELECT id, name, offset FROM tensor"))
        self.assertEqual(page.evaluate("document.querySelectorAll('details.step').length"), len(steps))
        # What is unfolded shows that statement's SQL.
        page.evaluate("showStep(9)")
        page.evaluate("new Promise((done) => setTimeout(done, 100))")
        self.assertEqual(page.evaluate("document.querySelector('#step-9 pre').textContent").strip(),
                         steps[8]["sql"].strip())

    def check_slider(self, page, toml, options):
        """Three of its budgets compiled by themselves say the same as the page."""
        last = page.evaluate("document.getElementById('budget').max")
        for at in (0, int(last) // 2, int(last) - 1):
            page.evaluate(f"(() => {{ const e = document.getElementById('budget'); e.value = {at};"
                          "e.dispatchEvent(new Event('input')); })()")
            shown = dict(page.evaluate(NUMBERS))
            budget = page.evaluate(f"compiled.budgets[{at}].budget")
            others = [o for o in options if not str(o).startswith("--budget")]
            plan = Plan(compile_model(toml, self.folder / "other.sql", f"--budget={budget}", *others))
            memory = listing(toml, "memory", f"--budget={budget}", *others)
            schedule = listing(toml, "schedule", f"--budget={budget}", *others)
            self.assertEqual(shown["slider-peak"], memory["sum"])
            self.assertEqual(shown["slider-read"],
                             schedule.get("reads, by this schedule", schedule.get("reads, expected")))
            self.assertIn(f"chunk {shown['slider-chunk']:.0f} ", plan.lines[0])

    def check(self, model, *options):
        toml = SOURCE / "models" / f"{model}.toml"
        path = self.page_of(toml, *options, name=model)
        plan = Plan(compile_model(toml, self.folder / f"{model}.sql", *options))
        page = self.opened(path)
        self.assertEqual(page.complaints(), [])
        self.check_numbers(page, plan, toml, options)
        self.check_program(page, plan)
        if options and not SANITIZED:
            self.check_slider(page, toml, options)
        self.check_looks(path, f"{model}{''.join(options)}")

    def test_smollm2(self):
        self.check("smollm2-135m", "--budget=80MiB")

    def test_smollm2_without_a_budget(self):
        self.check("smollm2-135m")

    @unittest.skipIf(SANITIZED, "takes long under the sanitizers")
    def test_qwen2(self):
        self.check("qwen2.5-coder-0.5b", "--budget=96MiB", "--kv=q8")

    @unittest.skipIf(SANITIZED, "takes long under the sanitizers")
    def test_windows_of_attention(self):
        self.check("gemma3-270m", "--budget=64MiB")

    @unittest.skipIf(SANITIZED, "takes long under the sanitizers")
    def test_experts(self):
        self.check("olmoe-1b-7b", "--budget=1GiB")

    def test_keys(self):
        page = self.opened(self.page_of(SOURCE / "models/smollm2-135m.toml", "--budget=80MiB"))
        page.evaluate("document.getElementById('budget').focus()")
        before = page.evaluate("document.getElementById('budget-says').textContent")
        page.press("ArrowRight", 39)
        self.assertNotEqual(page.evaluate("document.getElementById('budget-says').textContent"), before)
        page.evaluate("document.querySelectorAll('details.layer > summary')[3].focus()")
        page.press("Enter", 13)
        self.assertTrue(page.evaluate("document.querySelectorAll('details.layer')[3].open"))
        # Everything that answers to a click can be reached without a mouse, and has a name.
        self.assertEqual(page.evaluate(
            "[...document.querySelectorAll('button, input, select, summary, a')].filter((e) => e.tabIndex < 0 ||"
            "!(e.textContent.trim() || e.labels && e.labels.length)).map((e) => e.outerHTML)"), [])

    def test_search(self):
        page = self.opened(self.page_of(SOURCE / "models/smollm2-135m.toml"))
        page.evaluate("(() => { const e = document.getElementById('search'); e.value = 'layer.3. ffn_down';"
                      "e.dispatchEvent(new Event('input')); })()")
        visible = page.evaluate("steps.filter((s) => !stepElements.get(s.n).classList.contains('hidden'))"
                                ".map((s) => s.name)")
        self.assertEqual(visible, ["layer.3.x#2"])

    def test_text_of_the_plan_stays_text(self):
        toml = self.folder / "hostile.toml"
        text = (SOURCE / "models/smollm2-135m.toml").read_text()
        self.assertIn("<|im_start|>", text)
        toml.write_text(text.replace("<|im_start|>", "</script><script>document.title = 1</script><!--<b>"))
        page = self.opened(self.page_of(toml, name="hostile"))
        self.assertEqual(page.complaints(), [])
        self.assertIn("smollm2", page.evaluate("document.title"))
        self.assertIn("</script><script>document.title = 1", page.evaluate("data.chat"))
        self.assertIn("</script>", page.evaluate("document.getElementById('chat').textContent"))
        self.assertEqual(page.evaluate("document.querySelectorAll('script, b').length"),
                         2 + page.evaluate("document.querySelectorAll('b').length"))


class ProfilePage(InBrowser):
    def check(self, plan, db, name, *options):
        html, profile = self.folder / f"{name}-run.html", self.folder / f"{name}-run.db"
        run("LLMSQL_RUN", plan, db, "-p", "The river runs", "-n", 12, "--temp", 0, "--ignore-eos", f"--profile=html:{html}", f"--profile=db:{profile}", *options)
        page = self.opened(html)
        self.assertEqual(page.complaints(), [])
        measured = sqlite3.connect(profile)
        self.addCleanup(measured.close)
        phases = page.evaluate("run.phases.map((p) => [p.name, p.tokens, p.passes, p.seconds, p.computing,"
                               "p.reading, p.sql, p.waiting])")
        self.assertEqual([tuple(p) for p in phases], measured.execute(
            "SELECT phase, tokens, passes, seconds, computing, reading, sql, waiting FROM phase "
            "WHERE passes > 0 ORDER BY rowid").fetchall())
        steps = len(Plan(plan).statements)
        for button, phase in enumerate(phases):
            page.evaluate(f"document.querySelectorAll('#run ~ .controls button')[{button}].click()")
            shown = page.evaluate("steps.map((s) => (stepTime(s) || {total: 0}).total)")
            self.assertEqual(len(shown), steps)
            stored = dict(measured.execute("SELECT statement, 1e3 * (computing + reading + sql) / ? FROM "
                                           "statement_time WHERE phase = ?", (phase[2], phase[0])).fetchall())
            self.assertGreater(len(stored), 0.8 * steps)
            for number, ms in enumerate(shown, 1):
                self.assertAlmostEqual(ms, stored.get(number, 0), delta=1e-9 + 1e-6 * ms)
            shown = page.evaluate("document.querySelector('#main').textContent")
            self.assertRegex(shown, f"{phase[0]}: {phase[1]} token{'s' * (phase[1] != 1)} in "
                                    f"{phase[2]} pass{'es' * (phase[2] != 1)} of")
        self.check_looks(html, f"{name}-run")

    def test_tiny(self):
        db, toml = import_gguf(FIXTURES / "tiny-llama.gguf", "llama", "q8", self.folder)
        self.check(compile_model(toml, self.folder / "tiny.sql", "--context", 128), db, "tiny")

    @unittest.skipIf(SANITIZED, "takes long under the sanitizers")
    @unittest.skipUnless((MODELS / "smollm2.gguf").exists(), "scripts/fetch-models brings SmolLM2")
    def test_smollm2(self):
        toml, db = SOURCE / "models/smollm2-135m.toml", self.folder / "smollm2.db"
        run("LLMSQL_IMPORT", MODELS / "smollm2.gguf", "--model", toml, "-o", db)
        self.check(compile_model(toml, self.folder / "smollm2.sql", "--budget=80MiB"), db, "smollm2", "--io=read")


if __name__ == "__main__":
    unittest.main()
