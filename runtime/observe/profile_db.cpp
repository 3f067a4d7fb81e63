// SPDX-License-Identifier: MIT
// The database of --profile=db:FILE. See run_profile.h and docs/seeing.md.
#include <optional>

#include "runtime/observe/result_file.h"
#include "runtime/observe/run_profile.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

constexpr char kProfileSchema[] = R"(
CREATE TABLE run(plan TEXT, model_db TEXT, model TEXT, threads INTEGER, kernels TEXT, io TEXT,
                 held_bytes INTEGER, peak_rss INTEGER);
-- Seconds. `seconds` is all the time of the phase; computing + reading + sql + waiting that of its
-- passes; what is left is sampling and text. All but `seconds` are means over the threads.
CREATE TABLE phase(phase TEXT PRIMARY KEY, tokens INTEGER, passes INTEGER, seconds REAL,
                   computing REAL, reading REAL, sql REAL, waiting REAL);
CREATE TABLE statement(statement INTEGER PRIMARY KEY, line INTEGER, section TEXT,
                       layer INTEGER,  -- NULL outside the layers
                       name TEXT, kind TEXT, formula TEXT, sql TEXT);
-- Of all passes of a phase together. weight_bytes: multiplied by; read_bytes: read from model.db.
CREATE TABLE statement_time(phase TEXT, statement INTEGER, runs INTEGER, computing REAL,
                            reading REAL, sql REAL, weight_bytes INTEGER, read_bytes INTEGER,
                            PRIMARY KEY(phase, statement)) WITHOUT ROWID;
CREATE VIEW slowest_operator AS
  SELECT phase, kind, count(*) AS statements,
         1e3 * sum(t.computing + t.reading + t.sql) / passes AS ms_a_pass,
         100.0 * sum(t.computing + t.reading + t.sql) / seconds AS percent,
         1e3 * sum(t.computing) / passes AS computing_ms,
         1e3 * sum(t.reading) / passes AS reading_ms,
         1e3 * sum(t.sql) / passes AS sql_ms,
         sum(weight_bytes) / passes AS weight_bytes_a_pass,
         sum(weight_bytes) / 1e9 / nullif(sum(t.computing + t.reading), 0) AS gb_per_s,
         sum(read_bytes) / passes AS read_bytes_a_pass
  FROM statement_time t JOIN statement USING (statement) JOIN phase p USING (phase)
  GROUP BY phase, kind ORDER BY phase DESC, ms_a_pass DESC;
CREATE VIEW layer_time AS
  SELECT phase, layer, 1e3 * sum(t.computing + t.reading + t.sql) / passes AS ms_a_pass,
         100.0 * sum(t.computing + t.reading + t.sql) / seconds AS percent,
         1e3 * sum(t.computing) / passes AS computing_ms,
         1e3 * sum(t.reading) / passes AS reading_ms,
         sum(weight_bytes) / 1e9 / nullif(sum(t.computing + t.reading), 0) AS gb_per_s,
         sum(read_bytes) / passes AS read_bytes_a_pass
  FROM statement_time t JOIN statement USING (statement) JOIN phase p USING (phase)
  GROUP BY phase, layer ORDER BY phase DESC, layer IS NULL, layer;
CREATE VIEW io_wait AS
  SELECT phase, statement, name, 1e3 * t.reading / passes AS reading_ms,
         100.0 * t.reading / nullif(t.computing + t.reading, 0) AS percent_of_statement,
         read_bytes / passes AS read_bytes_a_pass,
         read_bytes / 1e9 / nullif(t.reading, 0) AS gb_per_s
  FROM statement_time t JOIN statement USING (statement) JOIN phase p USING (phase)
  WHERE t.reading > 0 ORDER BY phase DESC, t.reading DESC;
)";

void fill(const Connection& db, const RunProfile& run) {
    Query(db, "INSERT INTO run VALUES(?,?,?,?,?,?,?,?)", run.plan, run.model_db, run.outline.model,
          run.threads, run.kernels, run.io, run.held_bytes, run.peak_rss)
        .run();
    for (const OutlineStep& s : run.outline.steps)
        Query(db, "INSERT INTO statement VALUES(?,?,?,?,?,?,?,?)", s.number, s.line, s.section,
              s.layer < 0 ? std::nullopt : std::optional<int>(s.layer), s.name, run.outline.kind(s),
              s.formula, s.sql)
            .run();
    for (const RunPhase& phase : run.phases) {
        const PassTimes& t = phase.times;
        if (t.passes == 0) continue;
        Query(db, "INSERT INTO phase VALUES(?,?,?,?,?,?,?,?)", phase.name, t.tokens, t.passes,
              phase.seconds, t.computing, t.reading, t.sql, t.waiting)
            .run();
        int number = 0;
        for (const StatementTime& s : t.by_statement) {
            ++number;
            if (s.runs > 0)
                Query(db, "INSERT INTO statement_time VALUES(?,?,?,?,?,?,?,?)", phase.name, number,
                      s.runs, s.computing, s.reading, s.sql, s.weight_bytes, s.read_bytes)
                    .run();
        }
    }
}

ResultFile profile_file(const std::filesystem::path& path) {
    return {path, kProfileDatabase};
}

}  // namespace

void check_profile_db(const std::filesystem::path& path) {
    profile_file(path);  // not committed, so nothing is left of it
}

void write_profile_db(const RunProfile& run, const std::filesystem::path& path) {
    ResultFile file = profile_file(path);
    file.db().execute(kProfileSchema);
    fill(file.db(), run);
    file.commit();
}

}  // namespace llmsql
