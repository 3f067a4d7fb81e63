// SPDX-License-Identifier: MIT
// A small host of a scheduler, written from what scheduler.h says alone: it serves questions that
// come while others are answered, one of which is taken back, and tells each what is its own.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/generate/scheduler.h"
#include "tests/unit/generate/tiny_text_model.h"

namespace llmsql {
namespace {

using test::answer_alone;
using test::CacheKind;
using test::TextModel;

/// Answers of a host, by the names of who asked.
class Desk {
  public:
    Desk(Program& program, const Tokenizer& tokenizer)
        : tokenizer_(tokenizer), scheduler_(program, end_tokens(program, tokenizer)) {}

    void ask(const std::string& who, std::vector<int32_t> tokens, const GenerateOptions& options) {
        Request request;
        request.tokens = std::move(tokens);
        request.options = options;
        askers_[scheduler_.arrive(&tokenizer_, std::move(request))] = who;
    }

    void take_back(const std::string& who) {
        for (const auto& [id, asker] : askers_)
            if (asker == who) {
                scheduler_.remove(id);
                askers_.erase(id);
                return;
            }
    }

    /// One pass for all. False when nobody waits for anything.
    bool serve() {
        std::vector<Event> events;
        scheduler_.step(&tokenizer_, events);
        for (const Event& event : events) {
            texts[askers_.at(event.id)] += event.text;
            if (event.kind != Event::Kind::ended && event.kind != Event::Kind::failed) continue;
            scheduler_.remove(event.id);
            askers_.erase(event.id);
        }
        return scheduler_.is_busy();
    }

    std::map<std::string, std::string> texts;

  private:
    const Tokenizer& tokenizer_;
    Scheduler scheduler_;
    std::map<SequenceId, std::string> askers_;
};

TEST(Host, ServesWhoeverComesByWhatTheHeaderSays) {
    TextModel model(CacheKind::whole, 2), other(CacheKind::whole, 1);
    GenerateOptions options;
    options.predict = 12;
    options.seed = 3;
    options.ignore_end = true;
    const std::vector<int32_t> first = {1, 2, 3}, second = {4, 5, 6, 7, 8, 9}, third = {9, 8, 7};
    Desk desk(*model.program, *model.tokenizer);
    desk.ask("ann", first, options);
    desk.serve();
    desk.ask("ben", second, options);
    desk.ask("cleo", third, options);  // there are two places: waits
    desk.serve();
    desk.take_back("ben");
    while (desk.serve()) {
    }
    EXPECT_EQ(desk.texts["ann"], answer_alone(other, first, options).text);
    EXPECT_EQ(desk.texts["cleo"], answer_alone(other, third, options).text);
    EXPECT_EQ(desk.texts["ben"].size(), 1u);  // a token is a letter
}

}  // namespace
}  // namespace llmsql
