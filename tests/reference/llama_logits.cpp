// SPDX-License-Identifier: MIT
// The logits of each position as llama.cpp computes them of a GGUF in f32, with keys and values rounded to f16, as llmsql
// keeps them, for check_llama_cpp.py. (A cache of f16 would have queries and shares rounded as well.)
//
//     c++ -std=c++17 llama_logits.cpp -I LLAMA_CPP/include -I LLAMA_CPP/ggml/include -L BUILD/bin -lllama -lggml-base \
//         -Wl,-rpath,BUILD/bin -o llama_logits
//     llama_logits MODEL.gguf OUT.f32 ID…

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "ggml.h"
#include "llama.h"

/// What has just been written to the cache of keys or values is rounded where it lies.
static bool round_cache(ggml_tensor* tensor, bool ask, void*) {
    if (tensor->op != GGML_OP_SET_ROWS) return !ask;
    if (ask || tensor->type != GGML_TYPE_F32) return true;
    float* numbers = static_cast<float*>(tensor->data);
    for (size_t i = 0; i < ggml_nbytes(tensor) / sizeof(float); ++i)
        numbers[i] = ggml_fp16_to_fp32(ggml_fp32_to_fp16(numbers[i]));
    return true;
}

int main(int count, char** words) {
    std::vector<llama_token> ids;
    for (int i = 3; i < count; ++i) ids.push_back(std::atoi(words[i]));
    if (ids.empty()) return 2;
    llama_log_set([](ggml_log_level level, const char* text, void*) {
        if (level >= GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
    }, nullptr);
    llama_backend_init();
    llama_model* model = llama_model_load_from_file(words[1], llama_model_default_params());
    if (!model) return 1;
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = static_cast<uint32_t>(ids.size());
    params.n_threads = params.n_threads_batch = 1;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.cb_eval = round_cache;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context* context = llama_init_from_model(model, params);
    if (!context) return 1;
    llama_batch batch = llama_batch_init(static_cast<int32_t>(ids.size()), 0, 1);
    batch.n_tokens = static_cast<int32_t>(ids.size());
    for (int32_t i = 0; i < batch.n_tokens; ++i) {
        batch.token[i] = ids[static_cast<size_t>(i)];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) return 1;
    const size_t width = static_cast<size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
    std::FILE* out = std::fopen(words[2], "wb");
    for (int32_t i = 0; i < batch.n_tokens; ++i)
        std::fwrite(llama_get_logits_ith(context, i), sizeof(float), width, out);
    return std::fclose(out) == 0 ? 0 : 1;
}
