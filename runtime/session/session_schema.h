// SPDX-License-Identifier: MIT
// The tables of a session file, as docs/sessions.md describes them.
#pragma once

#include <array>

namespace llmsql {

/// In the order in which they are made. A file must have each as it stands here.
inline constexpr std::array kSessionSchema{
    // What a session is of; revision counts commits, so that two writers notice each other.
    "CREATE TABLE session(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, "
    "model TEXT NOT NULL, weights TEXT NOT NULL, forward TEXT NOT NULL, kv TEXT NOT NULL, "
    "created TEXT NOT NULL, changed TEXT NOT NULL, revision INTEGER NOT NULL)",

    "CREATE TABLE message(session INTEGER NOT NULL, n INTEGER NOT NULL, role TEXT NOT NULL, "
    "content TEXT NOT NULL, PRIMARY KEY(session, n)) WITHOUT ROWID",

    // What the model has read, or is to read.
    "CREATE TABLE token(session INTEGER NOT NULL, position INTEGER NOT NULL, "
    "token INTEGER NOT NULL, PRIMARY KEY(session, position)) WITHOUT ROWID",

    // The last answer; without an ending, one that can be resumed.
    "CREATE TABLE answer(session INTEGER PRIMARY KEY, ending TEXT, keep INTEGER NOT NULL, "
    "random TEXT NOT NULL, predict INTEGER NOT NULL, context INTEGER NOT NULL, "
    "keep_option INTEGER, ignore_end INTEGER NOT NULL, temperature REAL NOT NULL, "
    "top_k INTEGER NOT NULL, top_p REAL NOT NULL, min_p REAL NOT NULL, "
    "repeat_penalty REAL NOT NULL)",

    "CREATE TABLE answer_stop(session INTEGER NOT NULL, n INTEGER NOT NULL, text TEXT NOT NULL, "
    "PRIMARY KEY(session, n)) WITHOUT ROWID",

    "CREATE TABLE answer_token(session INTEGER NOT NULL, n INTEGER NOT NULL, "
    "token INTEGER NOT NULL, PRIMARY KEY(session, n)) WITHOUT ROWID",

    // Keys and values of 32 positions in all layers, found by what they were computed from.
    "CREATE TABLE block(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, "
    "checksums BLOB NOT NULL, data BLOB NOT NULL)",

    "CREATE TABLE session_block(session INTEGER NOT NULL, n INTEGER NOT NULL, "
    "block INTEGER NOT NULL, PRIMARY KEY(session, n)) WITHOUT ROWID",

    "CREATE INDEX session_block_block ON session_block(block)",

    "CREATE TRIGGER session_deleted AFTER DELETE ON session BEGIN "
    "DELETE FROM message WHERE session = OLD.id; "
    "DELETE FROM token WHERE session = OLD.id; "
    "DELETE FROM answer WHERE session = OLD.id; "
    "DELETE FROM answer_stop WHERE session = OLD.id; "
    "DELETE FROM answer_token WHERE session = OLD.id; "
    "DELETE FROM session_block WHERE session = OLD.id; END",

    "CREATE TRIGGER block_unused AFTER DELETE ON session_block "
    "WHEN NOT EXISTS (SELECT 1 FROM session_block WHERE block = OLD.block) BEGIN "
    "DELETE FROM block WHERE id = OLD.block; END",

    "CREATE VIEW conversation AS SELECT s.name AS session, m.n, m.role, m.content "
    "FROM message m JOIN session s ON s.id = m.session ORDER BY s.name, m.n",

    "CREATE VIEW sessions AS SELECT s.name, s.kind, s.model, s.created, s.changed, "
    "(SELECT count(*) FROM message WHERE session = s.id) AS messages, "
    "(SELECT count(*) FROM token WHERE session = s.id) AS tokens, "
    "(SELECT count(*) FROM session_block WHERE session = s.id) AS blocks, "
    "EXISTS (SELECT 1 FROM answer WHERE session = s.id AND ending IS NULL) AS unfinished "
    "FROM session s ORDER BY s.name",

    // Version 2: what was thought before an answer, where anything was.
    "CREATE TABLE thought(session INTEGER NOT NULL, n INTEGER NOT NULL, text TEXT NOT NULL, "
    "PRIMARY KEY(session, n)) WITHOUT ROWID",

    "CREATE TRIGGER session_thought_deleted AFTER DELETE ON session BEGIN "
    "DELETE FROM thought WHERE session = OLD.id; END",
};

/// Of these, at the end, those that a file of version 1 does not have: it gets them when it is
/// opened.
inline constexpr size_t kNewInVersion2 = 2;

}  // namespace llmsql
