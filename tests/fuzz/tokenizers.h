// SPDX-License-Identifier: MIT
// Bringing a tokenizer that was read from a source into a model.db, and using it there.
#pragma once

#include <atomic>
#include <span>

#include "common/files.h"
#include "importer/model_writer.h"
#include "importer/tokenizer.h"
#include "runtime/text/tokenizer.h"
#include "runtime/weights/model_db.h"
#include "tests/fuzz/fuzz.h"

namespace llmsql::fuzz {

/// Texts with what tokenizers look at: spaces, digits, marks, what is not UTF-8.
inline constexpr std::string_view kTexts[] = {"a",
                                              "ab ba  abc",
                                              "Hello, world 123",
                                              "<s>[INST]\n\t<0x0A>",
                                              "\xE2\x96\x81\xE2\x96\x81x\xF0\x9F\xA6\x86",
                                              "\xff\xfe\x80 \xE2\x96",
                                              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

inline void encode_and_decode(Tokenizer& tokenizer) {
    for (const std::string_view text : kTexts) {
        const Fragment fragments[] = {{std::string(text), true}, {std::string(text), false}};
        for (const int32_t id : tokenizer.encode(std::span(fragments), true))
            answers([&] {
                static_cast<void>(tokenizer.text_of(id));
                static_cast<void>(tokenizer.is_control(id));
            });
    }
    for (const int32_t id : {-1, 0, 1, 255, 1 << 30})
        answers([&] { static_cast<void>(tokenizer.text_of(id)); });
    static_cast<void>(tokenizer.find_piece("ab"));
}

inline void use_tokenizer(const Folder& folder, const SourceTokenizer& source) {
    if (source.tokens.size() > 2000) return;  // writing them takes long, and shows nothing new
    static const std::atomic<bool> canceled = false;
    {
        ModelWriter writer(folder / "written.db", canceled);
        writer.meta("model", "fuzz");
        write_tokenizer(source, writer);
        writer.finish();
        writer.publish();
    }
    const ModelDb db(folder.write("tokenizer.db", read_file(folder / "written.db")));
    Tokenizer tokenizer(db);
    encode_and_decode(tokenizer);
}

}  // namespace llmsql::fuzz
