// SPDX-License-Identifier: MIT
// A plan and a model.db, opened, up to the first tokens, in every way that weights are read.
#include <optional>

#include "plan/plan_file.h"
#include "runtime/weights/model_file.h"
#include "tests/faults/tiny_model_open.h"

namespace llmsql::faults {
namespace {

namespace fs = std::filesystem;

class Open : public Scenario {
  public:
    Open(const fs::path& folder, const std::string& way)
        : plan_(folder / "plan.sql"), db_(folder / "model.db") {
        write_tiny_files(folder, way != "held");
        guard_mappings();
        how_.threads = 2;
        how_.may_map = true;
        how_.timing = true;
        for (const IoMode mode : kIoModes)
            if (way == name_of(mode)) how_.io = mode;
        if (way == "held" || way == "auto") how_.io = std::nullopt;
        run();
        expected_ = answer_;
        require(!expected_.empty(), "no tokens");
    }

    void run() override {
        answer_.clear();
        const ModelDb db(db_);
        Program program(plan_, db, how_);
        Tokenizer tokenizer(db);
        SharedScheduler scheduler(program, end_tokens(program, tokenizer));
        Generator generator(scheduler, &tokenizer, tiny_options(4), {.ahead = 0});
        const std::vector<ChatMessage> messages{{"user", "ab"}};
        const std::vector<int32_t> tokens = tokenizer.encode("abc", true);
        static_cast<void>(program.chat().render(messages));
        static_cast<void>(program.chat().stop_pieces());
        generator.prefill(tokens);
        while (const auto picked = generator.next()) answer_.push_back(picked->token);
    }
    void check(bool failed) override {
        require(failed || answer_ == expected_, "other tokens than without a fault");
    }

  private:
    fs::path plan_, db_;
    ProgramOptions how_;
    std::vector<int32_t> answer_, expected_;
};

}  // namespace

std::unique_ptr<Scenario> open_model(const fs::path& folder, const std::string& way) {
    return std::make_unique<Open>(folder, way);
}

}  // namespace llmsql::faults
