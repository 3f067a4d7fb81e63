// SPDX-License-Identifier: MIT
// What the generated parser is made on. Only it and parser.cpp include this.
#pragma once

#include <new>

#include "antlr4-runtime.h"

namespace llmsql::compiler {

/// The parser that ANTLR generates ends recursive rules in destructors, where an exception would
/// end the program: want of memory is kept until require_memory() is called.
class ParserBase : public antlr4::Parser {
  public:
    using antlr4::Parser::Parser;

    void unrollRecursionContexts(antlr4::ParserRuleContext* parent) override {
        try {
            antlr4::Parser::unrollRecursionContexts(parent);
        } catch (const std::bad_alloc&) {
            lacked_memory_ = true;
        }
    }

    /// After parsing: throws std::bad_alloc if the tree is not whole for want of memory.
    void require_memory() const {
        if (lacked_memory_) throw std::bad_alloc();
    }

  private:
    bool lacked_memory_ = false;
};

}  // namespace llmsql::compiler
