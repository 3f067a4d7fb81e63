// SPDX-License-Identifier: MIT
// Running a plan over the tiny model. See tiny_program.h.
#include "tests/fuzz/tiny_program.h"

#include "plan/plan_file.h"

namespace llmsql::fuzz {

std::string with_its_count(const Folder& folder, std::string plan) {
    const size_t end = plan.rfind("--@ end");
    if (end != std::string::npos) plan.resize(end);
    plan += "\n--@ end ";
    try {
        read_plan(folder.write("count.sql", plan + "1000000000"));
    } catch (const Error& error) {
        // "…, but 34 are here …"
        const std::string message = error.what();
        const size_t but = message.rfind(", but ");
        if (but != std::string::npos) plan += std::to_string(std::atol(message.c_str() + but + 6));
    }
    return plan + "\n";
}

bool run_plan(std::string_view plan) {
    static const Folder folder;
    static const ModelDb db([] {
        tiny_model().write(folder / "tiny.db");
        return folder / "tiny.db";
    }());
    const auto path = folder.write("plan.sql", with_its_count(folder, std::string(plan)));
    return answers([&] {
        ProgramOptions options;
        options.threads = 1;
        Program program(path, db, options);
        bool all = true;
        constexpr std::array<int32_t, 3> kTokens{7, 36, 15};
        all &= answers([&] {
            const auto count = std::min<size_t>(3, static_cast<size_t>(program.chunk()));
            program.forward({kTokens.data(), count}, 0);
            program.logits(0, 1);
            program.forward({kTokens.data(), 1}, static_cast<int>(count));
            const Logits logits = program.logits(0, 1);
            float sum = 0;
            for (const float value : logits.row(0)) sum += value;
            static_cast<void>(sum);
            program.rewind(2);
            program.forward({kTokens.data(), 1}, 1);
            program.forward({kTokens.data(), count}, 0, 1);
        });
        all &= answers([&] {
            const std::vector<ChatMessage> messages{{"system", ""}, {"user", " a</user>\n"}};
            if (program.chat().exists()) program.chat().render(messages);
        });
        all &= answers([&] { program.chat().stop_pieces(); });
        if (!all) fail("refused");
    });
}

}  // namespace llmsql::fuzz
