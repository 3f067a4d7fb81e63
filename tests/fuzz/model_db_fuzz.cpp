// SPDX-License-Identifier: MIT
// Fuzz target: a model.db, damaged. It is opened, its tokenizer used, its weights verified by both
// ways of reading, and a plan run over it.
#include <array>

#include "common/workers.h"
#include "runtime/program/program.h"
#include "runtime/weights/tiles.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizers.h"
#include "tests/fuzz/whole_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace llmsql;
    using namespace llmsql::fuzz;
    static const Folder folder;
    static const auto plan = folder.write("plan.sql", whole_model_plan());
    const auto path = folder.write("model.db", text_of(data, size));
    answers([&] {
        const ModelDb db(path);
        bool all = true;
        all &= answers([&] {
            Tokenizer tokenizer(db);
            encode_and_decode(tokenizer);
        });
        all &= answers([&] {
            // What llmsql-run --verify does: by the catalogue that the file itself has.
            std::vector<Residency> streamed;
            for (const ParamEntry& entry : db.catalogue())
                streamed.push_back({static_cast<int>(streamed.size()) + 1, 0,
                                    tile_count(entry.type, entry.shape, db.cut()) - 1,
                                    entry.shape.is_vector()});
            Workers workers(1);
            PoolOptions reading;
            reading.io = IoMode::read;
            WeightPool(db, streamed, reading, workers).verify_all(workers);
        });
        for (const IoMode io : {IoMode::read, IoMode::blob})
            all &= answers([&] {
                ProgramOptions options;
                options.threads = 1;
                options.io = io;
                Program program(plan, db, options);
                constexpr std::array<int32_t, 2> kTokens{3, 17};
                program.forward(kTokens, 0);
                program.logits(0, 1);
            });
        if (all) ++accepted;
    });
    return 0;
}
