// SPDX-License-Identifier: MIT
// Tries the package with each SQLite that this Node.js has: node test.js PACKAGE_FOLDER MODEL.gguf. Run by
// tests/end_to_end/test_node.py; prints which were tried.
"use strict";
const assert = require("node:assert");
const childProcess = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const [folder, gguf] = process.argv.slice(2);
const llmsql = require(path.resolve(folder));
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "llmsql-node-"));
process.on("exit", () => fs.rmSync(scratch, {recursive: true, force: true}));

function modules() {
  const found = {};
  try {
    const Database = require("better-sqlite3");
    found["better-sqlite3"] = () => new Database(":memory:");
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
  }
  try {
    const {DatabaseSync} = require("node:sqlite");
    if (typeof DatabaseSync.prototype.loadExtension === "function")
      found["node:sqlite"] = () => new DatabaseSync(":memory:", {allowExtension: true});
  } catch (error) {
    if (error.code !== "ERR_UNKNOWN_BUILTIN_MODULE" && error.code !== "MODULE_NOT_FOUND") throw error;
  }
  return found;
}

function says(part, act) {
  assert.throws(act, (error) => {
    assert(error instanceof llmsql.LlmsqlError, error);
    assert(error.message.includes(part) && !error.message.includes("\n"), error.message);
    return true;
  });
}

const greedy = {n_predict: 8, temperature: 0};

function tryAll(connect) {
  const db = llmsql.load(connect());
  const info = llmsql.open(db, gguf, {context: 128, sequences: 2, budget: "64MiB"});
  assert.strictEqual(info.context, 128);
  const text = llmsql.generate(db, "The river", greedy);
  assert(text.length > 0);
  assert.strictEqual([...llmsql.stream(db, "The river", greedy)].map((token) => token.text).join(""), text);
  for (const token of llmsql.stream(db, "The river", {n_predict: 50})) {
    assert.strictEqual(typeof token.token, "number");
    break;  // which ends it
  }
  assert.deepStrictEqual(llmsql.batch(db, ["The river", "It's a hill"], greedy), [text, llmsql.generate(db, "It's a hill", greedy)]);
  assert.strictEqual(llmsql.detokenize(db, llmsql.tokenize(db, "déjà vu")), "déjà vu");
  assert(llmsql.logprob(db, " flows", {given: "The river"}) < 0);
  assert.strictEqual(llmsql.chat(db, "a", "Hi", greedy), llmsql.reply(db, [{role: "user", content: "Hi"}], greedy));
  const sessions = path.join(scratch, "talks.db");
  assert.strictEqual(llmsql.chat(db, "b", "Hi", {...greedy, sessions}), llmsql.chat(db, "c", "Hi", greedy));
  says("temperature", () => llmsql.generate(db, "The river", {temperature: -1}));
  says("empty", () => llmsql.generate(db, ""));
  says("settled when a plan is compiled", () => llmsql.open(db, gguf, {plan: "a.sql", budget: 1}));
  db.close();
}

// Of a process of its own: the peak of its resident set, from before the library is loaded.
function measureBudget(name) {
  const code = `
    const fs = require("node:fs");
    const resident = (field) => Number(/\\s(\\d+) kB/.exec(fs.readFileSync("/proc/self/status", "utf8").split("\\n")
      .find((line) => line.startsWith(field + ":")))[1]);
    const llmsql = require(${JSON.stringify(path.resolve(folder))});
    const {database, plan} = llmsql.prepare(${JSON.stringify(gguf)}, {budget: "24MiB", context: 512, sequences: 2});
    const connect = ${name === "node:sqlite" ? 'new (require("node:sqlite").DatabaseSync)(":memory:", {allowExtension: true})'
                                             : 'new (require("better-sqlite3"))(":memory:")'};
    connect.prepare("SELECT 1").get();
    resident("VmRSS");
    fs.writeFileSync("/proc/self/clear_refs", "5");
    const before = resident("VmRSS");
    llmsql.load(connect);
    llmsql.open(connect, database, {plan});
    llmsql.batch(connect, ["The river ".repeat(40), "A hill ".repeat(40)], {n_predict: 200, ignore_eos: true});
    console.log(resident("VmHWM") - before);`;
  const added = Number(childProcess.execFileSync(process.execPath, ["-e", code], {encoding: "utf8"}));
  assert(added > 512 && added < 24 << 10, `${added} KiB were added`);
}

const found = modules();
for (const [name, connect] of Object.entries(found)) {
  tryAll(connect);
  measureBudget(name);
}
says("a connection of better-sqlite3 or node:sqlite is wanted", () => llmsql.load({}));
says("cannot load extensions", () => llmsql.load({prepare() {}}));
if (found["node:sqlite"]) says("allowExtension: true", () => llmsql.load(new (require("node:sqlite").DatabaseSync)(":memory:")));
says("none.gguf", () => llmsql.prepare(path.join(scratch, "none.gguf")));
const model = path.join(scratch, "model.toml"), database = path.join(scratch, "model.db");
assert.strictEqual(llmsql.importModel(gguf, database, {writeModel: model}), database);
assert.strictEqual(llmsql.compile(model, {install: database, context: 64}), database);
assert(llmsql.compile(model, {context: 64}).includes("CREATE"));
says("budget", () => llmsql.compile(model, {budget: "1MiB"}));
assert(fs.existsSync(llmsql.loadablePath()));
console.log(`tried: ${Object.keys(found).join(" ") || "none"}`);
