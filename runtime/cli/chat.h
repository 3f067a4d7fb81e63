// SPDX-License-Identifier: MIT
// One answer, or a conversation.
#pragma once

#include "runtime/cli/options.h"
#include "runtime/program/program.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {

/// Mode::answer: prints the answer to one prompt. Returns the exit status.
int run_answer(Program& program, Tokenizer& tokenizer, const Options& options);

/// Mode::chat: each line of standard input is a turn, its end or Ctrl-C at the prompt the end. What
/// the turns have in common with what the model has read already is not computed again.
int run_chat(Program& program, Tokenizer& tokenizer, const Options& options);

}  // namespace llmsql
