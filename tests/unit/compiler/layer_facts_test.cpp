// SPDX-License-Identifier: MIT
// What differs from one repetition of a block to the next, and comes from the source: numbers of a
// block, parameters of some repetitions alone, names of a source that differ, what it leaves out.
#include "check_support.h"
#include "common/files.h"
#include "compiler/load/load.h"

namespace llmsql::compiler {
namespace {

constexpr const char* kFactsGraph = R"(graph kinds @gguf("kinds") @hf("Kinds") {
  dim d @gguf("kinds.d") @hf("d");
  dim most = d @gguf(largest("kinds.ff")) @hf(largest("ff"));
  const far = 3 @gguf(last("kinds.wide")) @hf(last("of", "wide"), 7);
  const scale @gguf("kinds.scale", 1 / sqrt(d)) @hf("scale", 2 * d);
  ignore @hf(tensors("mtp.*"));
  param embd : [d, d] @gguf("embd") @hf("embed", "old.embed");
  block layer[3] {
    const is_conv = index == 5 ? 1 : 0 @gguf("kinds.conv.{i}", "kinds.conv") @hf(is("types.{i}", "conv"));
    const listed = 0 @hf(lists("dense"));
    dim ff @gguf("kinds.ff.{i}", "kinds.ff") @hf("ff.{i}", "ff");
    param conv : [d] when is_conv == 1 @gguf("b.{i}.conv") @hf("l.{i}.conv");
    param up : [ff, d] when is_conv != 1 @gguf("b.{i}.up") @hf("l.{i}.up");
    param down : [d, ff] when is_conv != 1 @gguf("b.{i}.down") @hf("l.{i}.down");
  }
  forward(tokens: i32[T]) -> f32[T, d] {
    x = embed(embd, tokens) * scale;
    for l in layer {
      if l.is_conv == 1 {
        x = x * l.conv;
      } else {
        x = x + linear(linear(x, l.up), l.down) * (l.listed + most + far);
      }
    }
    return x;
  }
}
)";

class LayerFacts : public ::testing::Test {
  protected:
    LayerFacts() { folder_.write("kinds.graph", kFactsGraph); }

    struct Source {
        std::map<std::string, double> numbers;
        std::map<std::string, std::string> texts;
        std::map<std::string, std::vector<int64_t>> shapes;
    };

    static SourceMetadata metadata(const Source& source, const std::string& format) {
        const auto in = [](const auto& map, const std::string& key) {
            const auto found = map.find(key);
            return found == map.end() ? std::nullopt : std::optional(found->second);
        };
        return {.format = format,
                .architecture = format == "hf" ? "Kinds" : "kinds",
                .number = [&, in](const std::string& key) { return in(source.numbers, key); },
                .text = [&, in](const std::string& key) { return in(source.texts, key); },
                .keys = {},
                .shape = [&, in](const std::string& name) { return in(source.shapes, name); }};
    }

    Model model(const Source& source, const std::string& format = "hf") const {
        Model made =
            model_from_source(folder_.path() / "kinds.graph", metadata(source, format), "m");
        made.tokenizer.kind = "spm";
        return made;
    }

    static std::vector<std::string> names(const Model& model) {
        std::vector<std::string> all;
        for (const Param& param : model.params) all.push_back(param.name);
        return all;
    }

    TemporaryFolder folder_;
};

using Names = std::vector<std::string>;

TEST_F(LayerFacts, DecideWhatALayerHas) {
    Source source;
    source.numbers = {{"d", 16}, {"ff.0", 32}, {"ff.1", 1}, {"ff.2", 64}, {"dense.0", 2}};
    source.texts = {{"types.0", "attention"}, {"types.1", "conv"}, {"types.2", "attention"}};
    const Model made = model(source);
    EXPECT_EQ(names(made), (Names{"embd", "layer.0.up", "layer.0.down", "layer.1.conv",
                                  "layer.2.up", "layer.2.down"}));
    EXPECT_EQ(made.params[1].shape, (ParamShape{32, 16}));
    EXPECT_EQ(made.params[4].shape, (ParamShape{64, 16}));
    EXPECT_FALSE(made.params[3].optional);
    EXPECT_EQ(made.numbers.at("most"), 64);
    EXPECT_EQ(made.numbers.at("layer.1.is_conv"), 1);
    EXPECT_EQ(made.numbers.at("layer.2.listed"), 1);
    EXPECT_EQ(made.numbers.at("layer.0.listed"), 0);
    EXPECT_EQ(made.numbers.at("scale"), 32);  // Hugging Face's default
    EXPECT_EQ(made.numbers.at("far"), 7);
    source.numbers.insert({{"of.1.wide", 5}, {"of.2.narrow", 9}, {"of.40.wide", 6}});
    EXPECT_EQ(model(source).numbers.at("far"), 6);

    // A list in a GGUF, a number for all layers, and GGUF's default.
    Source gguf;
    gguf.numbers = {{"kinds.d", 16}, {"kinds.ff", 8}, {"kinds.conv.0", 1}};
    const Model other = model(gguf, "gguf");
    EXPECT_EQ(names(other), (Names{"embd", "layer.0.conv", "layer.1.up", "layer.1.down",
                                   "layer.2.up", "layer.2.down"}));
    EXPECT_EQ(other.numbers.at("most"), 8);
    EXPECT_EQ(other.numbers.at("scale"), 0.25);
    EXPECT_EQ(other.numbers.at("far"), 3);
    gguf.numbers["kinds.wide"] = 4;
    EXPECT_EQ(model(gguf, "gguf").numbers.at("far"), 4);
    gguf.numbers.insert({{"kinds.wide.0", 5}, {"kinds.wide.1", 6}});
    EXPECT_EQ(model(gguf, "gguf").numbers.at("far"), 6);
}

TEST_F(LayerFacts, StandInTheModelFile) {
    Source source;
    source.numbers = {{"d", 16}, {"ff.0", 32}, {"ff.1", 1}, {"ff.2", 64}};
    source.texts = {{"types.0", "attention"}, {"types.1", "conv"}, {"types.2", "attention"}};
    const Model made = model(source);
    const std::string text = to_toml(made);
    EXPECT_NE(text.find("[dims.layer]\nff = [32, 1, 64]\n"), std::string::npos) << text;
    EXPECT_NE(text.find("[constants.layer]\nis_conv = [0, 1, 0]\nlisted = 0\n"), std::string::npos)
        << text;
    const auto load = [&](const std::string& file) {
        folder_.write("m.toml", file);
        return load_model(folder_.path() / "m.toml", {});
    };
    EXPECT_EQ(load(text).numbers, made.numbers);
    EXPECT_EQ(names(load(text)), names(made));
    const OpGraph graph = lower_model(folder_.path() / "m.toml", {}, load(text));
    EXPECT_EQ(std::ranges::count_if(
                  graph.ops, [](const Op& op) { return op.op->weight == WeightUse::scanned; }),
              4);

    const auto error = [&](const std::string& from, const std::string& to) {
        std::string changed = text;
        changed.replace(changed.find(from), from.size(), to);
        try {
            load(changed);
            return std::string("none");
        } catch (const Error& found) {
            return std::string(found.what());
        }
    };
    EXPECT_EQ(error("[32, 1, 64]", "8"), "none");
    EXPECT_NE(
        error("[32, 1, 64]", "[32, 1]").find("has 2 numbers, but block 'layer' is repeated 3"),
        std::string::npos);
    EXPECT_NE(error("[32, 1, 64]", "[32, 1, 0]").find("a dim is a whole number"),
              std::string::npos);
    EXPECT_NE(error("[32, 1, 64]", "[]").find("empty list"), std::string::npos);
    EXPECT_NE(error("d = 16", "d = [16]").find("a whole number"), std::string::npos);
    EXPECT_NE(error("ff = [32, 1, 64]\n", "").find("'ff' in [dims.layer]"), std::string::npos);
    EXPECT_NE(error("listed = 0", "lisped = 0").find("no constant 'layer.lisped'"),
              std::string::npos);
}

TEST_F(LayerFacts, ThatASourceDoesNotSayAreAsked) {
    Source source;
    source.numbers = {{"d", 16}};
    try {
        model(source);
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("the source does not say what 'layer.0.ff' is"),
                  std::string::npos);
    }
}

TEST_F(LayerFacts, AreReadKeyByKey) {
    Source source;
    source.numbers = {{"d", 16}, {"ff.0", 32}, {"ff.1", 1}, {"ff.2", 64}, {"dense.0", 2}};
    source.texts = {{"types.0", "attention"}, {"types.1", "conv"}, {"types.2", "attention"}};
    const KeysRead keys = keys_read(folder_.path() / "kinds.graph", metadata(source, "hf"));
    using Keys = std::set<std::string>;
    EXPECT_EQ(keys.read,
              (Keys{"d", "dense", "ff", "ff.0", "ff.1", "ff.2", "types.0", "types.1", "types.2"}));
    EXPECT_EQ(keys.tensors, (Names{"mtp.*"}));
}

// A parameter of some layers may be used where a condition says that it is there.
TEST_F(LayerFacts, AreAskedBeforeAParameterIsUsed) {
    const auto error = [&](const std::string& from, const std::string& to) {
        std::string text = kFactsGraph;
        text.replace(text.find(from), from.size(), to);
        folder_.write("kinds.graph", text);
        try {
            check_graph_file(folder_.path() / "kinds.graph");
            return std::string("none");
        } catch (const Error& found) {
            return std::string(found.what());
        }
    };
    EXPECT_EQ(error("if l.is_conv == 1 {", "if l.is_conv == 1 && d > 1 {").find("none"),
              std::string::npos);  // of !(a && b) neither a nor b is known not to be
    EXPECT_EQ(error("if l.is_conv == 1 {", "if !(l.is_conv != 1) {"), "none");
    EXPECT_NE(error("x = x * l.conv;", "x = x * l.conv + linear(x, l.up);")
                  .find("l.up is there only when l.is_conv != 1: ask that, or has(l.up), first"),
              std::string::npos);
    EXPECT_NE(error("if l.is_conv == 1 {", "if l.is_conv == 0 {").find("l.conv"),
              std::string::npos);
    EXPECT_EQ(error("if l.is_conv == 1 {", "if has(l.conv) && l.is_conv == 1 {").find("l.conv"),
              std::string::npos);
    EXPECT_NE(error("when is_conv == 1", "when is_conv").find("true or false is needed"),
              std::string::npos);
}

}  // namespace
}  // namespace llmsql::compiler
