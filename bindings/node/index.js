// SPDX-License-Identifier: MIT
// llmsql for Node.js: the loadable extension, and its SQL functions by name. index.d.ts says what each takes and does.
"use strict";
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const {LlmsqlError, prebuilt, run} = require("./platform.js");

function loadablePath() {
  return prebuilt("lib", "libllmsql.so");
}

// One copy of the library serves one SQLite: of the two modules' the second one gets a copy of the file.
const copies = new Map();

function copy() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "llmsql-"));
  process.on("exit", () => fs.rmSync(folder, {recursive: true, force: true}));
  const file = path.join(folder, "libllmsql.so");
  fs.copyFileSync(loadablePath(), file);
  return file;
}

// better-sqlite3 and node:sqlite differ in how a connection is told that it may load extensions.
function load(db) {
  if (!db || typeof db.prepare !== "function")
    throw new LlmsqlError("load: a connection of better-sqlite3 or node:sqlite is wanted");
  if (typeof db.loadExtension !== "function")
    throw new LlmsqlError(`load: this ${db.constructor.name} cannot load extensions: Node.js 22.13 or later has node:sqlite that can, ` +
                          "or use better-sqlite3 (npm install better-sqlite3)");
  let file = copies.get(db.constructor) ?? loadablePath();
  let enabled = false;
  if (typeof db.enableLoadExtension === "function") {
    try {
      db.enableLoadExtension(true);
      enabled = true;
    } catch {
      throw new LlmsqlError("load: this connection of node:sqlite may not load extensions: open it with new " +
                            "DatabaseSync(file, {allowExtension: true})");
    }
  }
  try {
    try {
      db.loadExtension(file);
    } catch (error) {
      if (!error.message.includes("load a copy of the file for each")) throw error;
      file = copy();
      copies.set(db.constructor, file);
      db.loadExtension(file);
    }
  } catch (error) {
    throw new LlmsqlError(`${file}: ${oneLine(error)}`);
  } finally {
    if (enabled) db.enableLoadExtension(false);
  }
  return db;
}

function oneLine(error) {
  return String(error.message).split("\n")[0];
}

// An empty object says nothing, and an option that is undefined was not given.
function json(options) {
  try {
    return JSON.stringify(options ?? {});
  } catch (error) {
    throw new LlmsqlError(`options: ${oneLine(error)}`);
  }
}

function value(db, sql, ...values) {
  try {
    return Object.values(db.prepare(sql).get(...values))[0];
  } catch (error) {
    throw new LlmsqlError(oneLine(error));
  }
}

function optionWords(options) {
  const words = [];
  for (const [name, given] of Object.entries(options ?? {})) {
    if (given === undefined || given === null || given === false) continue;
    const option = "--" + name.replace(/[A-Z]/g, (letter) => "-" + letter.toLowerCase());
    for (const each of Array.isArray(given) ? given : [given]) words.push(each === true ? option : `${option}=${each}`);
  }
  return words;
}

function prepare(source, options) {
  const told = run("llmsql", ["prepare", ...optionWords(options), "--", String(source)]);
  const found = Object.fromEntries(told.trimEnd().split("\n").map((line) => {
    const colon = line.indexOf(": ");
    return [line.slice(0, colon), line.slice(colon + 2)];
  }));
  return {database: found.database, plan: found.plan || undefined};
}

function importModel(source, output, options) {
  run("llmsql-import", [...optionWords({...options, output}), "--", String(source)]);
  return String(output);
}

function compile(model, options) {
  const place = options && (options.output ?? options.install);
  const text = run("llmsqlc", [...optionWords({...options, emit: place === undefined ? "sql" : undefined}), "--", String(model)]);
  return place === undefined ? text : String(place);
}

function open(db, source, options = {}) {
  const {plan, threads, ...others} = options;
  let model = {database: String(source), plan};
  if (plan === undefined) {
    model = prepare(source, {...others, threads});
  } else {
    const [unused] = Object.keys(others);
    if (unused !== undefined) throw new LlmsqlError(`open: ${unused} is settled when a plan is compiled, and one is named: leave one of them out`);
  }
  return JSON.parse(value(db, "SELECT llm_load(?, ?, ?)", model.database, model.plan ?? null, json({threads})));
}

function generate(db, prompt, options) {
  return value(db, "SELECT llm_generate(?, ?)", prompt, json(options));
}

function* stream(db, prompt, options) {
  try {
    yield* db.prepare("SELECT token, piece AS text, logprob FROM llm_stream(?, ?)").iterate(prompt, json(options));
  } catch (error) {
    throw new LlmsqlError(oneLine(error));
  }
}

function batch(db, prompts, options) {
  const listed = JSON.stringify(prompts).replaceAll("'", "''");
  try {
    return db.prepare("SELECT answer FROM llm_batch(?, ?)")
      .all(`SELECT key, value FROM json_each('${listed}')`, json(options)).map((row) => row.answer);
  } catch (error) {
    throw new LlmsqlError(oneLine(error));
  }
}

function chat(db, session, message, options) {
  return value(db, "SELECT llm_chat(?, ?, ?)", session, message, json(options));
}

function reply(db, conversation, options) {
  return value(db, "SELECT llm_reply(?, ?)", json(conversation), json(options));
}

function tokenize(db, text) {
  return JSON.parse(value(db, "SELECT llm_tokenize(?)", text));
}

function detokenize(db, tokens) {
  return value(db, "SELECT llm_detokenize(?)", json(tokens));
}

function logprob(db, text, options) {
  return value(db, "SELECT llm_logprob(?, ?)", text, json(options));
}

function info(db) {
  return JSON.parse(value(db, "SELECT llm_info()"));
}

const {version} = JSON.parse(fs.readFileSync(path.join(__dirname, "package.json"), "utf8"));

module.exports = {
  LlmsqlError, batch, chat, compile, detokenize, generate, importModel, info, load, loadablePath, logprob, open, prepare, reply, stream,
  tokenize, version,
};
