// SPDX-License-Identifier: MIT
// llmsql for Node.js. A Connection is one of better-sqlite3, or a DatabaseSync of node:sqlite; its functions are SQL's
// (docs/sql-reference.md), and so synchronous: a server calls them in a worker thread. Whatever is wrong is an LlmsqlError.

/** What of a connection is used. */
export interface Connection {
  prepare(sql: string): {
    get(...values: any[]): any;
    all(...values: any[]): any[];
    iterate(...values: any[]): Iterable<any>;
  };
  loadExtension(file: string): unknown;
}

/** What is wrong, where, and what to do, in one line. */
export class LlmsqlError extends Error {}

/** How tokens are picked; names and meanings are llama.cpp's. */
export interface GenerateOptions {
  n_predict?: number;
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  repeat_penalty?: number;
  seed?: number;
  stop?: string | string[];
  ignore_eos?: boolean;
  keep?: number;
  context?: number;
}

export interface PromptOptions extends GenerateOptions {
  /** The prompt is a message, to be put into the model's chat template. */
  chat?: boolean;
  system?: string;
}

/** How a plan is compiled, and, where the source is no model database, imported. */
export interface PrepareOptions {
  /** Most memory that is added to the process, in bytes or as a text ("96MiB"). */
  budget?: number | string;
  /** Positions of context. */
  context?: number;
  /** Texts at once. */
  sequences?: number;
  /** How keys and values are stored. */
  kv?: string;
  /** How an import stores matrices. */
  weights?: string;
  /** A model's description, for a database that has no plan in it and no such file beside it. */
  model?: string;
  threads?: number;
}

export interface Prepared {
  database: string;
  /** Absent: the one that is installed in the database. */
  plan?: string;
}

export interface ImportOptions {
  weights?: string;
  writeModel?: string;
  model?: string;
  graph?: string;
  ignoreKey?: string | string[];
}

export interface CompileOptions {
  /** A file for the plan. */
  output?: string;
  /** A model database that gets the plan. */
  install?: string;
  budget?: number | string;
  context?: number;
  sequences?: number;
  kv?: string;
  chunk?: number;
  threads?: number;
}

export interface Info {
  version: string;
  model: string;
  graph: string;
  file: string;
  plan: string;
  plans: string[];
  parameters: number;
  weight_bytes: number;
  vocabulary: number;
  context: number;
  chunk: number;
  sequences: number;
  chat: boolean;
  threads: number;
  kernels: string;
  io: string;
  passes: number;
  rows: number;
}

export interface Token {
  /** null: text that was held back as a stop text might have begun there. */
  token: number | null;
  /** Empty while a character is not whole. */
  text: string;
  logprob: number | null;
}

export interface Message {
  role: string;
  content: unknown;
  [more: string]: unknown;
}

export const version: string;

/** The path of the loadable extension. */
export function loadablePath(): string;

/** Loads the extension into a connection, which it returns. One of node:sqlite must have been opened with allowExtension. */
export function load<T extends Connection>(db: T): T;

/** Imports a GGUF file or Hugging Face folder into the cache of `llmsql run`, unless it is there, and compiles a plan. */
export function prepare(source: string, options?: PrepareOptions): Prepared;

/** Prepares a source, a model database too, and has the connection's functions use it; or, with `plan`, a file or a name of one
 * installed in it, opens a model database as it is. */
export function open(db: Connection, source: string, options?: PrepareOptions & {plan?: string}): Info;

/** Makes a model database of a GGUF file or Hugging Face folder; returns its path. */
export function importModel(source: string, output: string, options?: ImportOptions): string;

/** Compiles a model's description into a plan; returns where it is, or without `output` and `install` its text. */
export function compile(model: string, options?: CompileOptions): string;

/** What comes after a text. */
export function generate(db: Connection, prompt: string, options?: PromptOptions): string;

/** The tokens of that as they come. An iteration that is left early ends the work. */
export function stream(db: Connection, prompt: string, options?: PromptOptions): IterableIterator<Token>;

/** What `generate` returns of each prompt, several in a pass where the plan has as many sequences. */
export function batch(db: Connection, prompts: string[], options?: PromptOptions & {together?: number}): string[];

/** Says something in a conversation, which is known by its name and lives as long as the connection, or in the file `sessions`. */
export function chat(db: Connection, session: string, message: string,
                     options?: GenerateOptions & {system?: string; sessions?: string}): string;

/** The answer to a conversation that is given whole. */
export function reply(db: Connection, conversation: Message[] | {messages: Message[]; [more: string]: unknown},
                      options?: GenerateOptions): string;

/** The ids of a text's tokens. */
export function tokenize(db: Connection, text: string): number[];

export function detokenize(db: Connection, tokens: number[]): string;

/** The natural logarithm of a text's probability, `given` what comes before; null where no token of it counts. */
export function logprob(db: Connection, text: string, options?: {given?: string}): number | null;

/** What is open. */
export function info(db: Connection): Info;
