// SPDX-License-Identifier: MIT
// How far a model's predictions are from those of another: of the weights that it was made of, say.
#pragma once

#include "runtime/cli/options.h"
#include "runtime/program/program.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {

/// Mode::divergence: the mean Kullback-Leibler divergence, in nats, of the model's distributions
/// from a base's, over the tokens and log probabilities in the file that
/// `llama-perplexity --save-all-logits FILE` writes, by the same definition as its
/// --kl-divergence: sum of p log(p / q) over the tokens whose p in the base is above exp(-16).
/// Windows and their first tokens are as in perplexity.h; those of tokens c/2 + 1 … c - 1 of each
/// window of c count.
///
/// Running values go to stderr, the result to stdout in lines "name: value". Fails where the file
/// is not such a file, is incomplete, or was made with another vocabulary or more context than the
/// plan has. Returns the exit status.
int run_divergence(Program& program, const Tokenizer& tokenizer, const Options& options);

}  // namespace llmsql
