// SPDX-License-Identifier: MIT
// Where the package's programs and library lie for this machine, and how a program is run.
"use strict";
const childProcess = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const oldestGlibc = [2, 28];

/** What is wrong, where, and what to do, in one line. */
class LlmsqlError extends Error {
  constructor(message) {
    super(message);
    this.name = "LlmsqlError";
  }
}

function refusal() {
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch))
    return `llmsql runs on Linux on x64 and arm64, this is ${process.platform} on ${process.arch}`;
  const glibc = process.report.getReport().header.glibcVersionRuntime;
  if (!glibc) return "llmsql needs glibc, which this Node.js was built without (Alpine's is): use one of an image with Debian, say";
  const [major, minor] = glibc.split(".").map(Number);
  if (major < oldestGlibc[0] || (major === oldestGlibc[0] && minor < oldestGlibc[1]))
    return `llmsql needs glibc ${oldestGlibc.join(".")} or later, this is ${glibc}`;
  return null;
}

/** The path of a file of this package that is made for this machine. Throws LlmsqlError where there is none. */
function prebuilt(...names) {
  // A development tree has them elsewhere: LLMSQL_BUILD names its build folder, with bin/ and lib/ in it.
  const build = process.env.LLMSQL_BUILD;
  if (!build) {
    const why = refusal();
    if (why) throw new LlmsqlError(why);
  }
  const file = path.join(build || path.join(__dirname, "prebuilds", `${process.platform}-${process.arch}`), ...names);
  if (!fs.existsSync(file)) throw new LlmsqlError(`${file}: is not there: install the package anew`);
  return file;
}

/** The output of a program that has to succeed. Throws LlmsqlError with the line in which it says what is wrong. */
function run(name, words) {
  const done = childProcess.spawnSync(prebuilt("bin", name), words, {stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 30});
  if (done.error) throw new LlmsqlError(`${name}: cannot be run: ${done.error.message}`);
  if (done.status !== 0)
    throw new LlmsqlError(done.stderr.toString().trim().split("\n").pop() || `${name}: was ended by ${done.signal}`);
  return done.stdout.toString();
}

/** Runs a program with this process's arguments and terminal, and ends as it ends. */
function become(name) {
  let program;
  try {
    program = prebuilt("bin", name);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    process.exit(1);
  }
  const child = childProcess.spawn(program, process.argv.slice(2), {stdio: "inherit"});
  // Those of the terminal reach it as they reach us; it decides what becomes of them.
  for (const signal of ["SIGINT", "SIGQUIT"]) process.on(signal, () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    console.error(`${name}: cannot be run: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (status, signal) => process.exit(signal ? 128 + os.constants.signals[signal] : status));
}

module.exports = {LlmsqlError, prebuilt, run, become};
