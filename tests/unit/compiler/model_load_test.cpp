// SPDX-License-Identifier: MIT
// Model files held against graphs: what is read, what is refused and where, and the way back to
// text.
#include "check_support.h"
#include "common/files.h"
#include "compiler/load/load.h"

namespace llmsql::compiler {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = LLMSQL_SOURCE_DIR;

// With something of everything: an optional parameter a layer, a tied one, defaults, a requirement.
constexpr const char* kGraph = R"(graph tiny @gguf("tiny", "tiny2") @hf("TinyForCausalLM") {
  dim d @gguf("tiny.width") @hf("hidden_size");
  dim n @gguf("tiny.layers");
  dim heads = d / 4 @gguf("tiny.heads");
  dim vocab @gguf("tiny.vocab", rows("embd.weight"));
  const eps @gguf("tiny.eps");
  const base = 100 * heads;
  require d % heads == 0, "heads are of equal width";
  param embd : [vocab, d] @gguf("embd.weight") @hf("embed");
  block layer[n] {
    let first = index == 0;
    param norm : [d] @gguf("blk.{i}.norm") @hf("l.{i}.norm", plus(1));
    param proj : [d, d] @gguf("blk.{i}.proj", unpermute(heads)) @hf("l.{i}.proj");
    optional param bias : [d] @gguf("blk.{i}.bias");
  }
  param head : [vocab, d] = embd @gguf("head.weight");
  forward(tokens: i32[T]) -> f32[T, vocab] {
    x = embed(embd, tokens);
    for l in layer { x = x + linear(rms_norm(x, l.norm, l.first ? eps : base), l.proj, l.bias); }
    return linear(x, head);
  }
}
)";

constexpr const char* kModel = R"(name = "m"
graph = "tiny"
[dims]
d = 16
n = 2
vocab = 50
[constants]
eps = 1e-5
[weights]
"*.proj" = "q4"
"*" = "q8"
[tokenizer]
kind = "bpe"
pre = "gpt2"
)";

TEST(ShippedFile, IsFoundByItsNameFromAnywhere) {
    const TemporaryFolder folder;
    const fs::path root = folder.path();
    fs::create_directories(root / "share" / "graphs");
    fs::create_directories(root / "share" / "models");
    for (const char* name : {"graphs/g.graph", "models/m.toml", "models/m-2.5b.toml"})
        folder.write("share/" + std::string(name), "");
    const std::vector<fs::path> dirs = {root / "none", root / "share" / "graphs"};
    const fs::path models = root / "share" / "models", graphs = root / "share" / "graphs";
    for (const char* named : {"m", "m.toml", "models/m.toml", "models/m"})
        EXPECT_EQ(find_shipped_file(named, dirs), models / "m.toml") << named;
    for (const char* named : {"m-2.5b", "m-2.5b.toml", "models/m-2.5b.toml"})
        EXPECT_EQ(find_shipped_file(named, dirs), models / "m-2.5b.toml") << named;
    for (const char* named : {"g.graph", "graphs/g.graph"})
        EXPECT_EQ(find_shipped_file(named, dirs), graphs / "g.graph") << named;
    // Files of other names and in other folders are what they are.
    for (const char* named : {"", "n", "g", "models/g.graph", "graphs/m.toml", "my/m.toml",
                              "./models/m.toml", "../models/m.toml", "/models/m.toml", "models/"})
        EXPECT_EQ(find_shipped_file(named, dirs), named);
    // One's own goes first.
    folder.write("m.toml", "");
    EXPECT_EQ(find_shipped_file(root / "m.toml", dirs), root / "m.toml");
}

class ModelLoad : public testing::Test {
  protected:
    ModelLoad() { folder_.write("tiny.graph", kGraph); }

    Model load(const std::string& toml) { return load_model(folder_.write("m.toml", toml), {}); }

    /// The errors, with the file's folder left out.
    std::string errors(const std::string& toml) {
        try {
            load(toml);
            return "none";
        } catch (const Error& error) {
            return replaced(error.what(), folder_.path().string() + "/", "");
        }
    }

    TemporaryFolder folder_;
};

std::string catalogue(const Model& model) {
    std::string text;
    for (const Param& param : model.params)
        text.append(param.name).append(" ").append(describe(param)).append("\n");
    return text;
}

TEST_F(ModelLoad, NumbersCatalogueAndSources) {
    const Model model = load(kModel);
    EXPECT_EQ(model.name, "m");
    EXPECT_EQ(model.graph, "tiny");
    EXPECT_EQ(model.numbers,
              (std::map<std::string, double>{
                  {"d", 16}, {"n", 2}, {"heads", 4}, {"vocab", 50}, {"eps", 1e-5}, {"base", 400}}));
    EXPECT_EQ(model.dims, (std::vector<std::string>{"d", "n", "heads", "vocab"}));
    EXPECT_EQ(model.constants, (std::vector<std::string>{"eps", "base"}));
    EXPECT_EQ(catalogue(model),
              "embd q8[50, 16]\nlayer.0.norm f32[16]\nlayer.0.proj q4[16, 16]\n"
              "layer.1.norm f32[16]\nlayer.1.proj q4[16, 16]\n");
    EXPECT_EQ(model.params[4].gguf, (ParamSource{"blk.1.proj", {{"unpermute", {4}}}}));
    EXPECT_EQ(model.params[3].hf, (ParamSource{"l.1.norm", {{"plus", {1}}}}));
    EXPECT_EQ(model.params[0].hf, (ParamSource{"embed", {}}));
    EXPECT_EQ(model.tokenizer, (TokenizerSpec{"bpe", "gpt2"}));
    EXPECT_EQ(model.chat, ChatSpec{});
}

TEST_F(ModelLoad, PresentParametersAndTheFirstPatternThatMatches) {
    const std::string toml =
        replaced(kModel, "[weights]\n",
                 "[parameters]\npresent = [\"head\", \"layer.1.*\"]\n[weights]\n"
                 "\"layer.0.*\" = \"f16\"\nhead = \"f32\"\n\"h*\" = \"q4\"\n");
    EXPECT_EQ(
        catalogue(load(toml)),
        "embd q8[50, 16]\nlayer.0.norm f32[16]\nlayer.0.proj f16[16, 16]\n"
        "layer.1.norm f32[16]\nlayer.1.proj q4[16, 16]\nlayer.1.bias f32[16]\nhead f32[50, 16]\n");
}

TEST_F(ModelLoad, MissingAndUnknownKeys) {
    EXPECT_EQ(errors(""),
              "m.toml:1:1: error: the model file has no 'name', 'graph', 'dims', 'weights', "
              "'tokenizer'\n\n^");
    EXPECT_EQ(errors(R"(nam = "m"
graph = "tiny"
[dims]
d = 16
vocabs = 50
eps = 3
[weights]
"*" = "q8"
[tokenizer]
kind = "bpe"
pree = "gpt2"
[chat]
stops = []
)"),
              R"(m.toml:1:1: error: unknown key 'nam' in the model file, did you mean 'name'?
nam = "m"
^
m.toml:3:2: error: graph 'tiny' needs 'n' in [dims], 'vocab' in [dims]
[dims]
 ^
m.toml:5:1: error: graph 'tiny' has no dim 'vocabs', did you mean 'vocab'?
vocabs = 50
^
m.toml:6:1: error: 'eps' belongs in [constants], not in [dims]
eps = 3
^
m.toml:9:2: error: a bpe tokenizer needs 'pre', how text is split: gpt2, qwen2, qwen35, smollm, llama3, cl100k, default, own
[tokenizer]
 ^
m.toml:11:1: error: unknown key 'pree' in [tokenizer], did you mean 'pre'?
pree = "gpt2"
^
m.toml:13:1: error: unknown key 'stops' in [chat], did you mean 'stop'?
stops = []
^)");
}

TEST_F(ModelLoad, AMissingTableIsMissedAtTheGraph) {
    EXPECT_EQ(
        errors(replaced(kModel, "[constants]\neps = 1e-5\n", "")),
        "m.toml:2:9: error: graph 'tiny' needs 'eps' in [constants]\ngraph = \"tiny\"\n        ^");
}

TEST_F(ModelLoad, WrongTypes) {
    EXPECT_EQ(errors(R"(name = 3
graph = "tiny"
[dims]
d = 16.0
n = "2"
vocab = 1979-05-27
[constants]
eps = inf
[weights]
"*" = "q5"
layer.0.proj = "q8"
[tokenizer]
kind = "gpt2"
[chat]
stop = "x"
template = [1]
)"),
              R"(m.toml:1:8: error: 'name' must be a text, not a whole number
name = 3
       ^
m.toml:4:5: error: 'd' must be a whole number, not a number with a point
d = 16.0
    ^
m.toml:5:5: error: 'n' must be a whole number, not a text
n = "2"
    ^
m.toml:6:9: error: 'vocab' must be a whole number, not a date or time
vocab = 1979-05-27
        ^
m.toml:8:7: error: 'eps' must be a finite number
eps = inf
      ^
m.toml:10:7: error: unknown weight type 'q5'; there are f32, f16, q8, q4, bf16, q4_0, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4, nvfp4, q1_0, q2_0, tq2_0, iq1, iq2, iq3_xxs, iq3_s and tq1_0
"*" = "q5"
      ^
m.toml:11:1: error: write a name with dots in quotes: "layer.…" = "q8"
layer.0.proj = "q8"
^
m.toml:13:8: error: unknown kind 'gpt2'; there are bpe, spm, unigram, wordpiece
kind = "gpt2"
       ^
m.toml:15:8: error: 'stop' must be an array of texts, not a text
stop = "x"
       ^
m.toml:16:12: error: 'template' must be a text, not an array
template = [1]
           ^)");
}

TEST_F(ModelLoad, WhatIsNotTomlAndKeysGivenTwice) {
    EXPECT_EQ(errors(replaced(kModel, "d = 16", "d = 16\nd = 17")),
              "m.toml:5:5: error: 'd' is given twice\nd = 17\n    ^");
    EXPECT_TRUE(
        starts_with(errors("name = \"m\ngraph = 3"), "m.toml:1:10: error: not TOML: Error while"));
    EXPECT_NE(errors("name = \"\xff\"").find("this is not UTF-8 text"), std::string::npos);
    EXPECT_NE(errors("a = " + std::string(100000, '[')).find("not TOML"), std::string::npos);
    EXPECT_NE(errors(std::string(2 << 20, '#')).find("at most 1048576 bytes"), std::string::npos);
    EXPECT_THROW(load_model(folder_.path(), {}), Error);
    EXPECT_THROW(load_model(folder_.path() / "none.toml", {}), Error);
}

TEST_F(ModelLoad, ImpossibleDims) {
    EXPECT_EQ(errors(replaced(replaced(kModel, "d = 16", "d = 0"), "n = 2", "n = -1")),
              R"(m.toml:4:5: error: dim 'd' is 0, but a dim is a whole number from 1 to 2^40
d = 0
    ^
m.toml:5:5: error: dim 'n' is -1, but a dim is a whole number from 1 to 2^40
n = -1
    ^)");
    EXPECT_EQ(
        errors(replaced(kModel, "d = 16", "d = 18")),
        "m.toml:4:5: error: dim 'heads' = d / 4 comes to 4.5, but a dim is a whole number from 1 "
        "to 2^40\nd = 18\n    ^");
    EXPECT_EQ(
        errors(replaced(kModel, "d = 16", "d = 16\nheads = 3")),
        "m.toml:5:9: error: the graph requires (d % heads) == 0, but d = 16, heads = 3: heads are "
        "of equal width\nheads = 3\n        ^");
    EXPECT_EQ(errors(replaced(kModel, "vocab = 50", "vocab = 100000000000")),
              "m.toml:6:9: error: embd would have 1600000000000 elements, more than 2^40\n"
              "vocab = 100000000000\n        ^");
    EXPECT_EQ(
        errors(replaced(kModel, "n = 2", "n = 5000")),
        "m.toml:5:5: error: block 'layer' is repeated 5000 times, but it must be from 1 to 4096\n"
        "n = 5000\n    ^");
    EXPECT_EQ(
        errors(replaced(kModel, "d = 16", "d = 20\nheads = 4")),
        "m.toml:4:5: error: layer.0.proj has 20 rows, which cannot be unpermuted as 4 heads of an "
        "even width\nd = 20\n    ^");
    EXPECT_NE(errors(replaced(kModel, "d = 16", "d = 9223372036854775807"))
                  .find("m.toml:4:5: error: dim 'd' is 9.22"),
              std::string::npos);
}

TEST_F(ModelLoad, PatternsThatMatchNothingOrWrongly) {
    EXPECT_EQ(
        errors(replaced(kModel, "[weights]\n\"*.proj\" = \"q4\"\n\"*\" = \"q8\"",
                        R"([parameters]
present = ["haed", "embd", "layer.*.proj"]
[weights]
"*.prj" = "q4"
"*norm" = "q8"
head = "q8"
embd = "q8")")),
        R"(m.toml:10:12: error: graph 'tiny' has no optional parameter 'haed', did you mean 'head'?
present = ["haed", "embd", "layer.*.proj"]
           ^
m.toml:10:20: error: 'embd' is always present in graph 'tiny'; only optional and tied parameters are listed here
present = ["haed", "embd", "layer.*.proj"]
                   ^
m.toml:10:28: error: 'layer.*.proj' is always present in graph 'tiny'; only optional and tied parameters are listed here
present = ["haed", "embd", "layer.*.proj"]
                           ^
m.toml:11:2: error: no pattern says how to store layer.0.proj and 1 more; end [weights] with "*" = "q8"
[weights]
 ^
m.toml:12:1: error: '*.prj' matches no parameter of this model
"*.prj" = "q4"
^
m.toml:13:11: error: '*norm' matches vectors only, and those are always f32
"*norm" = "q8"
          ^
m.toml:14:1: error: 'head' matches no parameter of this model; [parameters] does not list it as present
head = "q8"
^)");
}

TEST_F(ModelLoad, TheGraphIsFoundByName) {
    EXPECT_TRUE(starts_with(errors(replaced(kModel, "\"tiny\"", "\"tinny\"")),
                            "m.toml:2:9: error: there is no graph 'tinny': look"));
    EXPECT_NE(errors(replaced(kModel, "\"tiny\"", "\"../tiny\"")).find("is not a graph's name"),
              std::string::npos);
    fs::create_directory(folder_.path() / "models");
    fs::create_directory(folder_.path() / "graphs");
    fs::create_directory(folder_.path() / "more");
    const fs::path toml = folder_.write("models/m.toml", kModel);
    EXPECT_THROW(load_model(toml, {}), Error);
    folder_.write("more/tiny.graph", replaced(kGraph, "dim n ", "dim n = 1 "));
    EXPECT_NO_THROW(load_model(toml, {folder_.path() / "more"}));
    folder_.write("graphs/tiny.graph", kGraph);
    EXPECT_NO_THROW(load_model(toml, {}));
    folder_.write("models/tiny.graph", replaced(kGraph, "graph tiny", "graph tony"));
    try {
        load_model(toml, {});
        FAIL();
    } catch (const Error& error) {
        EXPECT_NE(
            std::string(error.what()).find("graph 'tony' must be in a file called tony.graph"),
            std::string::npos)
            << error.what();
    }
}

TEST_F(ModelLoad, ErrorsOfTheGraphAreItsOwn) {
    folder_.write("tiny.graph", replaced(kGraph, "l.proj,", "l.porj,"));
    EXPECT_EQ(
        errors(kModel).substr(0, 82),
        "tiny.graph:19:80: error: block 'layer' has no 'porj', did you mean 'proj'?\n    for");
    EXPECT_THROW(check_graph_file(folder_.path() / "tiny.graph"), Error);
    EXPECT_NO_THROW(ast_text(folder_.path() / "tiny.graph"));
}

TEST(ShippedModels, LoadWithTheirGraphs) {
    const std::map<std::string, std::pair<size_t, double>> expected{
        // parameters, and elements in millions, as the sources have them
        {"smollm2-135m", {272, 134.515008}},
        {"qwen2.5-coder-0.5b", {291, 630.167424}},
        {"qwen2", {290, 494.032768}},
        {"gemma3-270m", {236, 268.098176}},
        {"gemma3-1b", {340, 999.885952}},
        {"qwen3-0.6b", {310, 596.04992}},
        {"qwen3-1.7b", {310, 1720.574976}},
        {"llama3.2-1b", {147, 1235.814432}},  // its 1,235,814,400 and 32 rotary factors
        {"llama3.2-3b", {255, 3212.749888}},
        {"olmoe-1b-7b", {3219, 6919.161856}},
        {"gpt2", {196, 124.439808}},
        {"smollm3-3b", {326, 3075.098624}},
        {"gemma2-2b", {288, 2614.341888}},
        {"qwen3-30b-a3b", {18867, 30532.122624}},
        {"aya-23-8b", {258, 8028.033024}},
        {"command-r7b", {258, 8028.033024}},
        {"dots.llm1", {24231, 142774.381696}},
        {"ernie-4.5-0.3b", {164, 360.748032}},
        {"falcon-h1-0.5b", {867, 521.411104}},
        {"gemma-2b", {164, 2506.172416}},
        {"glm-4-9b-0414", {563, 9400.279040}},
        {"glm-4-9b", {483, 9399.951360}},
        {"granite-3.1-1b-a400m", {2474, 1334.628352}},
        {"granite-3.1-2b", {362, 2533.531648}},
        {"hunyuan-0.5b", {266, 539.010048}},
        {"hunyuan-a13b", {6530, 80393.183232}},
        {"lfm2-350m", {168, 354.483968}},
        {"ling-mini-2.0", {14853, 16255.643392}},
        {"mamba2-130m", {410, 128.989632}},
        {"minicpm-2b", {362, 2724.880896}},
        {"olmo2-1b", {179, 1484.916736}},
        {"phi-2", {453, 2779.683840}},
        {"qwen1.5-moe-a2.7b", {4659, 14315.784192}},
        {"seed-oss-36b", {771, 36151.104512}},
        {"stablelm-2-1.6b", {340, 1644.515328}},
        {"starcoder2-3b", {483, 3030.371328}},
        {"pythia-70m", {100, 70.426624}},
        {"falcon-7b", {260, 7217.189760}},
        {"exaone-3.0-7.8b", {291, 7818.448896}},
        {"internlm2-7b", {291, 7737.708544}},
        {"baichuan-7b", {291, 7000.559616}},
        {"deepseek-moe-16b", {5466, 16375.728128}},
        {"gpt-j-6b", {285, 6050.882784}},
        // vectors that are computed beside: rotary factors, ones where norms have no weights
        {"deepseek-v2-lite", {5346, 15706.484256}},  // 32 of them
        {"exaone-4.0-1.2b", {333, 1279.391520}},     // 32 of them
        {"gpt-oss-20b", {2692, 20914.757216}},       // 32 of them
        {"phi-4-mini", {292, 3836.021856}},          // 96 of them
        {"apertus-8b", {421, 8055.424064}},  // what makes xIELU, for each element of a feed-forward
        {"olmo-1b", {114, 1176.766464}},     // 2048 of them
        // of which only rounded numbers are published, which these are
        {"afm-4.5b", {292, 4619.184704}},
        {"laguna-xs.2", {30513, 33442.617088}},
        {"mistral-small-4", {14368, 118972.826656}},
        {"mellum2-12b", {5631, 12149.923072}},
        {"minicpm3-4b", {872, 4073.876000}},
        {"ling-lite", {5659, 16801.974272}},
        {"openpangu-7b", {445, 8030.887936}},
        {"orion-14b", {444, 14498.703360}},
        {"xverse-7b", {291, 7299.846144}},
        {"gemma-3n-e2b", {705, 4435.209312}},
        {"smallthinker-4b", {3299, 4268.459520}},
        {"granite-swash-2b", {242, 2144.463840}},
        {"trinity-mini", {12031, 26123.974400}},
        {"hy3", {46545, 295033.543488}},
        {"nanbeige2-8b", {327, 7772.344320}},
        {"maincoder-1b", {354, 1026.203136}},
        {"ernie-4.5-21b-a3b", {5465, 21825.436160}},
        {"gemma-4-e2b", {503, 4626.210304}},
        {"glm-4.5-air", {17925, 106852.251264}},
        {"granite-4.0-h-tiny", {8514, 6939.037248}},
        {"jais2-8b", {324, 8089.016832}},
        {"k-exaone-236b", {18673, 236571.156352}},
        {"lfm2-8b-a1b", {2316, 8339.929856}},
        {"llama-4-scout", {2788, 107769.861136}},
        {"minimax-m2", {48239, 228689.764864}},
        {"ministral-3-3b", {237, 3429.006400}},
        {"minitron-4b", {324, 4190.509056}},
        {"nemotron-nano-9b-v2", {557, 8888.227328}},
        {"qwen3-next-80b-a3b", {74619, 79674.391296}},
        {"qwen3.5-0.8b", {398, 752.393024}},
        {"qwen3.5-35b-a3b", {31463, 34660.610688}},
    };
    for (const auto& [name, figures] : expected) {
        const Model model = load_model(kRoot / "models" / (name + ".toml"), {});
        EXPECT_EQ(model.params.size(), figures.first) << name;
        double elements = 0;
        for (const Param& param : model.params)
            elements += static_cast<double>(param.shape.row_count() * param.shape.cols);
        EXPECT_DOUBLE_EQ(elements / 1e6, figures.second) << name;
    }
    for (const auto& entry : fs::directory_iterator(kRoot / "graphs"))
        if (entry.path().extension() == ".graph") {
            EXPECT_NO_THROW(check_graph_file(entry.path())) << entry.path();
        }
    for (const auto& entry : fs::directory_iterator(kRoot / "models"))
        EXPECT_TRUE(expected.contains(entry.path().stem())) << entry.path();
    // Each architecture has a model.
    std::set<std::string> graphs;
    for (const auto& [name, figures] : expected)
        graphs.insert(load_model(kRoot / "models" / (name + ".toml"), {}).graph);
    for (const auto& entry : fs::directory_iterator(kRoot / "graphs"))
        if (entry.path().extension() == ".graph") {
            EXPECT_TRUE(graphs.contains(entry.path().stem())) << entry.path();
        }
}

TEST(ShippedModels, ParametersInTheOrderOfTheirUse) {
    const Model model = load_model(kRoot / "models/smollm2-135m.toml", {});
    const std::vector<const char*> names{
        "token_embd",     "layer.0.attn_norm",   "layer.0.attn_q",   "layer.0.attn_k",
        "layer.0.attn_v", "layer.0.attn_output", "layer.0.ffn_norm", "layer.0.ffn_gate",
        "layer.0.ffn_up", "layer.0.ffn_down"};
    for (size_t i = 0; i < names.size(); ++i) EXPECT_EQ(model.params[i].name, names[i]);
    EXPECT_EQ(model.params.back().name, "output_norm");
    EXPECT_EQ(model.params[0].type, WeightType::q8);
    EXPECT_EQ(model.params[2].type, WeightType::q4);
    EXPECT_EQ(model.params[3].gguf, (ParamSource{"blk.0.attn_k.weight", {{"unpermute", {3}}}}));
    EXPECT_FALSE(model.params[3].hf->transforms.size());
}

TEST(ToToml, ReadsBackEqual) {
    TemporaryFolder folder;
    fs::copy(kRoot / "graphs", folder.path());  // looked at before the folder's neighbours
    for (const auto& entry : fs::directory_iterator(kRoot / "models")) {
        const Model model = load_model(entry.path(), {});
        const fs::path written = folder.write("m.toml", to_toml(model));
        EXPECT_EQ(load_model(written, {kRoot / "graphs"}), model) << entry.path();
        EXPECT_EQ(to_toml(load_model(written, {kRoot / "graphs"})), to_toml(model));
    }
}

TEST_F(ModelLoad, WrittenBackAsPatternsWithExceptions) {
    const std::string toml = R"(name = "quoted \"name\" \\ \u0007"
graph = "tiny"

[dims]
d = 16
n = 3
heads = 4
vocab = 50

[constants]
eps = 1e-05
base = 0.1

[parameters]
present = ["layer.1.bias", "head"]

[weights]
"layer.1.proj" = "f16"
"layer.*.proj" = "q4"
"*" = "q8"

[tokenizer]
kind = "spm"

[chat]
stop = ["<end>", "a\"b"]
template = '''
SELECT 'it''s', "x\n"
  FROM message
'''
)";
    const Model model = load(toml);
    EXPECT_EQ(model.chat.query, "SELECT 'it''s', \"x\\n\"\n  FROM message");
    EXPECT_EQ(to_toml(model), toml);

    Model changed = model;
    changed.chat.query = "SELECT ''''''";  // no literal string can hold three quotes
    EXPECT_EQ(load(to_toml(changed)), changed);
    changed.chat.query = "SELECT 'x\x01'\r\n, 'y'";
    EXPECT_EQ(load(to_toml(changed)), changed);
    const Model all = load(replaced(toml, "\"layer.1.bias\", \"head\"", "\"layer.*.bias\""));
    EXPECT_NE(to_toml(all).find("present = [\"layer.*.bias\"]"), std::string::npos) << to_toml(all);
    EXPECT_EQ(load(to_toml(all)), all);
}

// A GGUF's metadata and tensors, as the importer offers them.
struct Source {
    std::map<std::string, double> numbers{
        {"tiny.width", 16}, {"tiny.layers", 2}, {"tiny.eps", static_cast<double>(1e-5f)}};
    std::map<std::string, std::vector<int64_t>> shapes{
        {"embd.weight", {50, 16}}, {"blk.1.bias", {16}}, {"head.weight", {50, 16}}};

    std::map<std::string, std::string> texts;

    SourceMetadata metadata(const std::string& architecture,
                            const std::string& format = "gguf") const {
        return {.format = format,
                .architecture = architecture,
                .number = [this](const std::string& key) { return find(numbers, key); },
                .text = [this](const std::string& key) { return find(texts, key); },
                .keys = {},
                .shape = [this](const std::string& tensor) { return find(shapes, tensor); }};
    }

    template<class T>
    static std::optional<T> find(const std::map<std::string, T>& all, const std::string& key) {
        const auto found = all.find(key);
        return found == all.end() ? std::nullopt : std::optional(found->second);
    }
};

TEST_F(ModelLoad, FromAGguf) {
    const Source source;
    const Model model =
        model_from_source(folder_.path() / "tiny.graph", source.metadata("tiny2"), "made");
    EXPECT_EQ(model.name, "made");
    EXPECT_EQ(model.graph, "tiny");
    EXPECT_EQ(model.numbers.at("vocab"), 50);
    EXPECT_EQ(model.numbers.at("heads"), 4);
    EXPECT_EQ(model.numbers.at("eps"), 1e-5);  // what was meant by the f32 nearest to it
    EXPECT_EQ(catalogue(model),
              "embd f16[50, 16]\nlayer.0.norm f32[16]\nlayer.0.proj f16[16, 16]\n"
              "layer.1.norm f32[16]\nlayer.1.proj f16[16, 16]\nlayer.1.bias f32[16]\n"
              "head f16[50, 16]\n");
    Model whole = model;
    whole.tokenizer = {"bpe", "qwen2"};
    EXPECT_EQ(load(to_toml(whole)), whole);
}

TEST_F(ModelLoad, FromAGgufThatDoesNotFit) {
    const auto errors = [&](const Source& source, const std::string& architecture) {
        try {
            model_from_source(folder_.path() / "tiny.graph", source.metadata(architecture), "m");
            return std::string("none");
        } catch (const Error& error) {
            return replaced(error.what(), folder_.path().string() + "/", "");
        }
    };
    EXPECT_EQ(
        errors({}, "llama"),
        "tiny.graph is a graph for the GGUF architecture 'tiny', 'tiny2', but the source's is "
        "'llama'");
    Source source;
    source.numbers.erase("tiny.eps");
    source.shapes.erase("embd.weight");
    EXPECT_EQ(
        errors(source, "tiny"),
        R"(tiny.graph:5:7: error: the source does not say what 'vocab' is: looked for "tiny.vocab" or rows("embd.weight")
  dim vocab @gguf("tiny.vocab", rows("embd.weight"));
      ^
tiny.graph:6:9: error: the source does not say what 'eps' is: looked for "tiny.eps"
  const eps @gguf("tiny.eps");
        ^)");
    source = {};
    source.numbers["tiny.width"] = 2.5;
    source.numbers["tiny.layers"] = 1e30;
    EXPECT_TRUE(starts_with(
        errors(source, "tiny"),
        "tiny.graph:2:7: error: dim 'd' is 2.5, but a dim is a whole number from 1 to 2^40 "
        "(numbers "
        "from the source's metadata)\n  dim"));
    source.numbers["tiny.width"] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_NE(errors(source, "tiny").find("'d' is nan, but it must be a finite number"),
              std::string::npos);
}

TEST_F(ModelLoad, NumbersWithoutBound) {
    const auto errors = [&](const Source& source, const std::string& graph) {
        try {
            model_from_source(folder_.path() / graph, source.metadata(graph.substr(0, 4)), "m");
            return std::string("none");
        } catch (const Error& error) {
            return std::string(error.what());
        }
    };
    Source source;
    for (const double eps :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        source.numbers["tiny.eps"] = eps;
        EXPECT_NE(errors(source, "tiny.graph").find("it must be a finite number"),
                  std::string::npos);
    }
    // Elements of what is computed, in one parameter and in all, and how many parameters there are.
    folder_.write("many.graph", R"(graph many @gguf("many") {
  dim d @gguf("d");
  dim n @gguf("n");
  dim m @gguf("m");
  param embd : [d, d] @gguf("embd");
  param router : [m, d] @gguf("router");
  block layer[n] {
    param norm : [d] @gguf(computed(element));
    param each : [m, d, d] @gguf("blk.{i}.{j}");
  }
  forward(tokens: i32[T]) -> f32[T, d] {
    x = embed(embd, tokens);
    for l in layer {
      h = rms_norm(x, l.norm, 1);
      shares = top(softmax(linear(h, router)), 1);
      x = x + linear_sum(linear_each(h, l.each, shares, 1), l.each, shares);
    }
    return x;
  }
}
)");
    source.shapes = {};
    source.numbers = {{"d", 1 << 19}, {"n", 1}, {"m", 2}};
    EXPECT_EQ(errors(source, "many.graph"), "none");
    source.numbers = {{"d", (1 << 20) + 1}, {"n", 1}, {"m", 2}};
    EXPECT_NE(errors(source, "many.graph").find("would have 1048577 elements to compute"),
              std::string::npos);
    source.numbers = {{"d", 1 << 18}, {"n", 17}, {"m", 2}};
    EXPECT_NE(errors(source, "many.graph").find("more than 4194304 elements would have to be"),
              std::string::npos);
    source.numbers = {{"d", 8}, {"n", 4096}, {"m", 4096}};
    EXPECT_NE(errors(source, "many.graph").find("more than 262144 parameters"), std::string::npos);
}

TEST_F(ModelLoad, WhatAGraphReads) {
    folder_.write("read.graph", R"(graph read @gguf("read") {
  dim d @gguf("a", "b");
  const kind = 0 @gguf(is("c", "x"));
  ignore @gguf("e", "f");
  ignore @hf("g");
  param embd : [d, d] @gguf("embd");
  block layer[2] { let local = true @gguf(is("types.{i}", "t")); param w : [d, d] @gguf("{i}"); }
  forward(tokens: i32[T]) -> f32[T, d] {
    x = embed(embd, tokens);
    for l in layer { x = linear(x, l.w) * (l.local ? 1 : kind); }
    return x;
  }
}
)");
    Source source;
    source.numbers = {{"a", 8}, {"b", 8}};
    source.texts = {{"c", "x"}, {"types.0", "t"}, {"types.1", "t"}};
    const auto graph = folder_.path() / "read.graph";
    using Keys = std::set<std::string>;
    KeysRead keys = keys_read(graph, source.metadata("read"));
    EXPECT_EQ(keys.read, (Keys{"a", "b", "c", "types.0", "types.1"}));
    EXPECT_EQ(keys.lists, (Keys{"types"}));
    EXPECT_EQ(keys.ignored, (Keys{"e", "f"}));
    source.numbers["b"] = 9;  // says otherwise, and is not what counts
    EXPECT_FALSE(keys_read(graph, source.metadata("read")).read.contains("b"));
    source.numbers.erase("a");
    EXPECT_TRUE(keys_read(graph, source.metadata("read")).read.contains("b"));
    SourceMetadata list = source.metadata("read");
    list.kind = [](const std::string& key) { return key == "a" ? "an array" : ""; };
    try {
        keys_read(graph, list);
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "read: the source's a is an array, a number is needed");
    }
}

TEST_F(ModelLoad, WhatIsKnownOfTheSource) {
    Model model = load(kModel + std::string("[source]\ncontext = 512\nignored = [\"a = 1\"]\n"));
    EXPECT_EQ(model.origin, (ModelOrigin{512, {"a = 1"}}));
    EXPECT_EQ(load(to_toml(model)), model);
    EXPECT_EQ(load(kModel).origin, ModelOrigin{});
    EXPECT_NE(errors(kModel + std::string("[source]\ncontext = 0\n")).find("at least 1"),
              std::string::npos);
    EXPECT_NE(errors(kModel + std::string("[source]\nkey = 0\n")).find("unknown key 'key'"),
              std::string::npos);
}

TEST_F(ModelLoad, WhatImportWritesIsRead) {
    const auto graph = folder_.path() / "tiny.graph";
    const Model model = load(kModel);
    check_model_text(to_toml(model), model, graph);
    const auto error = [&](const Model& wrong) {
        try {
            check_model_text(to_toml(wrong), wrong, graph);
            return std::string("none");
        } catch (const Error& error) {
            return std::string(error.what());
        }
    };
    Model wrong = model;
    wrong.chat.stop = {std::string("a\0b", 3)};
    EXPECT_NE(error(wrong).find("NUL"), std::string::npos);
    wrong = model;
    wrong.name = "\xff";
    EXPECT_NE(error(wrong).find("UTF-8"), std::string::npos);
    wrong = model;
    wrong.chat.query = std::string((1 << 20) + 1, 'x');
    EXPECT_NE(error(wrong), "none");
    for (const double eps : {-1.0, 1e300}) {
        wrong = model;
        wrong.numbers["eps"] = eps;
        EXPECT_NE(error(wrong).find("rms_norm"), std::string::npos);
    }
}

// A let with annotations: what the graph says is so and the source says otherwise is refused.
TEST_F(ModelLoad, WhatASourceSaysOfALet) {
    folder_.write("said.graph", R"(graph said @gguf("said") @hf("Said") {
  dim d @gguf("said.width") @hf("hidden_size");
  let gate_is_silu = 1 @hf(is("hidden_act", "silu", "swish"));
  let d_rope = d / 2 @gguf("said.rope") @hf("rope_dim");
  param embd : [d, d] @gguf("embd") @hf("embed");
  block layer[2] {
    let local = index == 0 @hf(is("layer_types.{i}", "sliding"));
    param w : [d, d] @gguf("blk.{i}.w") @hf("l.{i}.w");
  }
  forward(tokens: i32[T]) -> f32[T, d] {
    x = embed(embd, tokens);
    for l in layer { x = l.local ? linear(x, l.w) : x + linear(x, l.w); }
    return x;
  }
}
)");
    Source source;
    source.numbers = {{"hidden_size", 16}, {"said.width", 16}};
    const auto errors = [&](const std::string& format) {
        try {
            model_from_source(folder_.path() / "said.graph",
                              source.metadata(format == "hf" ? "Said" : "said", format), "m");
            return std::string("none");
        } catch (const Error& error) {
            return replaced(error.what(), folder_.path().string() + "/", "");
        }
    };
    EXPECT_EQ(errors("hf"), "none");  // silence is consent
    source.texts = {
        {"hidden_act", "swish"}, {"layer_types.0", "sliding"}, {"layer_types.1", "full"}};
    source.numbers["rope_dim"] = 8;
    EXPECT_EQ(errors("hf"), "none");

    source.texts["hidden_act"] = "gelu\n";
    source.texts["layer_types.1"] = "sliding";
    source.numbers["rope_dim"] = 4;
    EXPECT_EQ(
        errors("hf"),
        R"(said.graph:3:7: error: 'gate_is_silu' is 1 in this graph, but not in the source: hidden_act is "gelu?" (numbers from the source's metadata)
  let gate_is_silu = 1 @hf(is("hidden_act", "silu", "swish"));
      ^
said.graph:4:7: error: 'd_rope' is 8 in this graph, but not in the source: rope_dim is 4 (numbers from the source's metadata)
  let d_rope = d / 2 @gguf("said.rope") @hf("rope_dim");
      ^
said.graph:7:9: error: 'local' of layer 1 is 0 in this graph, but not in the source: layer_types.1 is "sliding" (numbers from the source's metadata)
    let local = index == 0 @hf(is("layer_types.{i}", "sliding"));
        ^)");
    EXPECT_EQ(errors("gguf"), "none");  // the other format's words are not asked
    source.numbers["said.rope"] = 16;
    EXPECT_NE(
        errors("gguf").find("'d_rope' is 8 in this graph, but not in the source: said.rope is 16"),
        std::string::npos);

    source.texts = {{"hidden_size", "sixteen"}};
    source.numbers.erase("hidden_size");
    EXPECT_EQ(errors("hf"),
              "Said: the source's hidden_size is the text \"sixteen\", but a number is needed");
}

// Llama 3.2 1B by the numbers of its config.json: the factors that its GGUFs have as a tensor.
TEST_F(ModelLoad, ComputedParameters) {
    Source source;
    source.numbers = {{"hidden_size", 2048},
                      {"num_hidden_layers", 1},
                      {"num_attention_heads", 32},
                      {"num_key_value_heads", 8},
                      {"head_dim", 64},
                      {"intermediate_size", 8192},
                      {"vocab_size", 128256},
                      {"rms_norm_eps", 1e-5},
                      {"rope_theta", 500000},
                      {"rope_scaling.factor", 32},
                      {"rope_scaling.low_freq_factor", 1},
                      {"rope_scaling.high_freq_factor", 4},
                      {"rope_scaling.original_max_position_embeddings", 8192}};
    source.texts["rope_scaling.rope_type"] = "llama3";
    const auto made = [&] {
        return model_from_source(kRoot / "graphs" / "llama.graph",
                                 source.metadata("LlamaForCausalLM", "hf"), "m");
    };
    const Model scaled = made();
    ASSERT_EQ(scaled.params[0].name, "rope_factors");
    EXPECT_EQ(scaled.params[0].gguf->tensor, "rope_freqs.weight");
    ASSERT_TRUE(scaled.params[0].hf->is_computed());
    const std::vector<double>& factors = scaled.params[0].hf->values;
    ASSERT_EQ(factors.size(), 32u);
    // Of transformers 5.23, ROPE_INIT_FUNCTIONS["llama3"].
    for (const auto& [element, factor] : std::map<size_t, double>{
             {0, 1}, {14, 1}, {15, 1.65133}, {16, 3.29226}, {17, 9.66673}, {18, 32}, {31, 32}})
        EXPECT_NEAR(factors[element], factor, 1e-4) << element;

    source.texts["rope_scaling.rope_type"] = "yarn";
    const Model stretched = made();
    ASSERT_EQ(stretched.params[0].name, "rope_factors");
    // Of transformers 5.24, ROPE_INIT_FUNCTIONS["yarn"].
    for (const auto& [element, factor] : std::map<size_t, double>{
             {0, 1}, {9, 1}, {10, 1.12062}, {14, 2.16541}, {17, 7.2}, {18, 32}, {31, 32}})
        EXPECT_NEAR(stretched.params[0].hf->values[element], factor, 1e-4) << element;
    source.texts["rope_scaling.rope_type"] = "unheard";
    try {
        made();
        ADD_FAILURE() << "an unknown type was taken";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what())
                      .find("'rope_is_known' is 1 in this graph, but not in the source: "
                            "rope_scaling.rope_type is \"unheard\""),
                  std::string::npos)
            << error.what();
    }
    source.numbers.erase("rope_scaling.factor");
    source.texts.erase("rope_scaling.rope_type");
    EXPECT_EQ(made().params[0].name, "token_embd");  // no factors where nothing is scaled
}

TEST_F(ModelLoad, TheGraphForAnArchitecture) {
    const fs::path folder = folder_.path();
    const auto found = [&](const std::string& format, const std::string& architecture,
                           const std::vector<fs::path>& dirs) {
        try {
            return replaced(find_graph_for(format, architecture, dirs).string(), folder.string(),
                            "DIR");
        } catch (const Error& error) {
            return replaced(error.what(), folder.string(), "DIR");
        }
    };
    folder_.write("broken.graph", "graph broken @gguf(\"tiny\") {");
    EXPECT_EQ(found("gguf", "tiny2", {folder / "none", folder}), "DIR/tiny.graph");
    EXPECT_EQ(found("hf", "TinyForCausalLM", {folder}), "DIR/tiny.graph");
    EXPECT_EQ(found("hf", "tiny", {folder}),
              "no graph file is for the Hugging Face architecture 'tiny': those in DIR are for "
              "TinyForCausalLM; docs/adding-an-architecture.md says how to write one");
    EXPECT_SAYS(found("gguf", "tiny", {folder / "none"}),
                "no graph file … 'tiny': there are none in DIR/none; … --graph-dir …");
    folder_.write("second.graph", replaced(kGraph, "graph tiny", "graph second"));
    EXPECT_EQ(found("gguf", "tiny", {folder}),
              "both DIR/second.graph and DIR/tiny.graph are for the GGUF architecture 'tiny': "
              "choose one with --graph");
    // A head that another has in its text, and one without an end.
    folder_.write("third.graph",
                  "graph third @gguf(\"third\") // @gguf(\"not\") {\n@hf(\"also{\") {}");
    EXPECT_EQ(found("hf", "also{", {folder}), "DIR/third.graph");
    EXPECT_SAYS(found("gguf", "not", {folder}),
                "no graph file is for the GGUF architecture 'not': …");
    folder_.write("fourth.graph", "graph fourth @gguf(\"fourth\")");
    EXPECT_SAYS(found("gguf", "fourth", {folder}), "no graph file is for …'fourth': …");
    for (const auto& [format, architecture, graph] :
         std::vector<std::array<std::string, 3>>{{"gguf", "llama", "llama"},
                                                 {"hf", "MistralForCausalLM", "llama"},
                                                 {"gguf", "qwen2", "qwen2"},
                                                 {"gguf", "qwen3", "qwen3"},
                                                 {"gguf", "gemma3", "gemma3"},
                                                 {"hf", "Gemma3ForCausalLM", "gemma3"}})
        EXPECT_EQ(find_graph_for(format, architecture, {kRoot / "graphs"}),
                  kRoot / "graphs" / (graph + ".graph"));
}

TEST_F(ModelLoad, TablesOfMatrices) {
    folder_.write("tiny.graph", R"(graph tiny @gguf("tiny") @hf("Tiny") {
  dim d; dim many; const c = 1;
  param embd : [d, d] @gguf("embd");
  block layer[2] {
    param up : [many, 2 * d, d] @gguf("blk.{i}.ups") @hf("l.{i}.{j}.up", plus(c));
  }
  forward(tokens: i32[T]) -> f32[T, d] {
    x = embed(embd, tokens);
    for l in layer { x = linear_sum(linear_each(x, l.up, top(x, 2), 2), l.up, top(x, 2)); }
    return x;
  }
}
)");
    EXPECT_TRUE(starts_with(
        errors(replaced(replaced(kModel, "n = 2\nvocab = 50", "many = 4"), "eps = 1e-5", "c = 1")),
        "tiny.graph:9:58: error: linear_each: choice has the shape [T, d], but must be "
        "[T, many] to go with x [T, d] and table [many, 2*d, d]\n"))
        << errors(kModel);
    folder_.write("tiny.graph", R"(graph tiny @gguf("tiny") @hf("Tiny") {
  dim d; dim many; const c = 1;
  param embd : [d, d] @gguf("embd");
  block layer[2] {
    param up : [many, d, d] @gguf("blk.{i}.ups") @hf("l.{i}.{j}.up", plus(c));
  }
  forward(tokens: i32[T]) -> f32[T, d] {
    x = embed(embd, tokens);
    for l in layer {
      w = normalize(top(softmax(linear(x, embd)), 2));
      x = linear_sum(linear_each(x, l.up, w, 2), l.up, w);
    }
    return x;
  }
}
)");
    // The choice is as wide as there are matrices.
    EXPECT_NE(errors("name = 'm'\ngraph = 'tiny'\n[dims]\nd = 4\nmany = 3\n[weights]\n'*' = 'q8'\n"
                     "[tokenizer]\nkind = 'spm'\n")
                  .find("linear_each: choice has the shape [T, d], but must be [T, many]"),
              std::string::npos);
    folder_.write("tiny.graph", replaced(read_file(folder_.path() / "tiny.graph"), "param embd",
                                         "param route : [many, d] @gguf(\"r\");\n"
                                         "  param embd"));
    folder_.write("tiny.graph", replaced(read_file(folder_.path() / "tiny.graph"),
                                         "linear(x, embd)", "linear(x, route)"));
    const Model model = load(
        "name = 'm'\ngraph = 'tiny'\n[dims]\nd = 4\nmany = 3\n[weights]\n\"layer.1.up.2\" = 'f16'\n"
        "\"*.up.*\" = 'q4'\n'*' = 'q8'\n[tokenizer]\nkind = 'spm'\n");
    EXPECT_EQ(catalogue(model),
              "route q8[3, 4]\nembd q8[4, 4]\nlayer.0.up.0 q4[4, 4]\nlayer.0.up.1 q4[4, 4]\n"
              "layer.0.up.2 q4[4, 4]\nlayer.1.up.0 q4[4, 4]\nlayer.1.up.1 q4[4, 4]\n"
              "layer.1.up.2 f16[4, 4]\n");
    const Param& last = model.params.back();
    EXPECT_EQ(last.gguf->tensor, "blk.1.ups");
    EXPECT_EQ(last.gguf->part, 2);
    EXPECT_EQ(last.gguf->parts, 3);
    EXPECT_EQ(last.hf->tensor, "l.1.2.up");
    EXPECT_EQ(last.hf->part, std::nullopt);
    EXPECT_EQ(last.hf->transforms, (std::vector<TransformStep>{{"plus", {1}}}));
    EXPECT_EQ(load(to_toml(model)), model) << to_toml(model);
}

}  // namespace
}  // namespace llmsql::compiler
