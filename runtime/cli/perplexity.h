// SPDX-License-Identifier: MIT
// How well a model predicts a text.
#pragma once

#include "runtime/cli/options.h"
#include "runtime/program/program.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {

/// Mode::perplexity, by llama-perplexity's protocol, so that figures compare. The whole text's
/// tokens, with the start token if the model adds one, are cut into windows of -c tokens (default
/// 512, what is left over is dropped); each window is read from an empty cache, its first token
/// replaced by the start token if the model adds one; tokens -c/2 + 1 … -c - 1 of each are scored.
/// perplexity = exp(mean of -log p(token | the window before it)).
///
/// Running values go to stderr, `perplexity: 11.93` to stdout. Fails if the text has fewer tokens
/// than two windows. Returns the exit status.
int run_perplexity(Program& program, Tokenizer& tokenizer, const Options& options);

}  // namespace llmsql
