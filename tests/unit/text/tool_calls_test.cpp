// SPDX-License-Identifier: MIT
// Each family's form of calling tools, read as rows; what is malformed stays.
#include "runtime/text/tool_calls.h"

#include <gtest/gtest.h>

#include "tests/unit/says.h"

namespace llmsql {
namespace {

/// "name(arguments)#id; …", or "!error" of a malformed one; then what is left.
std::string calls_of(std::string_view text) {
    const ToolCalls found = read_tool_calls(text);
    std::string all;
    for (const ToolCall& call : found.calls) {
        if (!all.empty()) all += "; ";
        all += call.error.empty() ? call.name + call.arguments : "!" + call.error;
        if (!call.id.empty()) all += "#" + call.id;
    }
    return found.content.empty() ? all : all + " | " + found.content;
}

TEST(ToolCalls, Hermes) {
    EXPECT_EQ(calls_of("I look.\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\": "
                       "\"Paris\", \"days\": 2}}\n</tool_call>\n<tool_call>{\"name\": \"now\", "
                       "\"arguments\": {}}</tool_call>"),
              R"(get{"city":"Paris","days":2}; now{} | I look.)");
    // Marks within a text of the call; arguments as a text; none.
    EXPECT_EQ(
        calls_of(R"(<tool_call>{"name": "say", "arguments": {"x": "</tool_call>"}}</tool_call>)"),
        R"(say{"x":"</tool_call>"})");
    EXPECT_EQ(calls_of(R"(<tool_call>{"name": "f", "arguments": "{\"a\": 1}"}</tool_call>)"),
              R"(f{"a":1})");
    EXPECT_EQ(calls_of(R"(<tool_call>{"name": "f"}</tool_call>)"), "f{}");
    EXPECT_EQ(calls_of(R"(<tool_call>{"type": "function", "id": "a1", "function":
                          {"name": "f", "arguments": {}}}</tool_call>)"),
              "f{}#a1");
    // An answer that ended with the call.
    EXPECT_EQ(calls_of(R"(<tool_call>{"name": "f", "arguments": {}})"), "f{}");
    EXPECT_EQ(calls_of("no calls here"), " | no calls here");
}

TEST(ToolCalls, XmlOfQwen3Coder) {
    const std::string_view call =
        "<function=write>\n<parameter=path>\na.txt\n</parameter>\n<parameter=lines>\n"
        "one\n two\n</parameter>\n<parameter=mode>\n420\n</parameter>\n<parameter=tags>\n"
        "[\"x\", 1]\n</parameter>\n</function>";
    constexpr const char* kRead =
        R"(write{"path":"a.txt","lines":"one\n two","mode":420,"tags":["x",1]})";
    EXPECT_EQ(calls_of("<tool_call>\n" + std::string(call) + "\n</tool_call>"), kRead);
    EXPECT_EQ(calls_of("Well: " + std::string(call)), std::string(kRead) + " | Well:");
    EXPECT_EQ(calls_of("<function=spell>{\"word\": \"a\"}</function>"), R"(spell{"word":"a"})");
    EXPECT_EQ(calls_of("<seed:tool_call><function=f><parameter=a>b</parameter></function>"
                       "</seed:tool_call>"),
              R"(f{"a":"b"})");
}

TEST(ToolCalls, Llama3) {
    EXPECT_EQ(calls_of(R"({"name": "get", "parameters": {"city": "Paris"}})"),
              R"(get{"city":"Paris"})");
    EXPECT_EQ(
        calls_of(
            R"(<|python_tag|>{"name": "a", "parameters": {}}; {"name": "b", "parameters": {}})"),
        "a{}; b{}");
    EXPECT_EQ(calls_of(R"(<|python_tag|>brave_search.call(query="tea"))"),
              R"(brave_search{"query":"tea"})");
    // JSON that is an answer.
    EXPECT_EQ(calls_of(R"({"name": "Anna", "age": 7})"), R"( | {"name": "Anna", "age": 7})");
}

TEST(ToolCalls, Mistral) {
    EXPECT_EQ(calls_of(R"([TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "abcdefghi"},
                          {"name": "g", "arguments": {}}])"),
              R"(f{"a":1}#abcdefghi; g{})");
    EXPECT_EQ(calls_of(R"(Ok.[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{})"),
              R"(f{"a":1}#abcdefghi; g{} | Ok.)");
    EXPECT_EQ(calls_of(R"([TOOL_CALLS]f{"a": [1]})"), R"(f{"a":[1]})");
}

TEST(ToolCalls, GptOss) {
    EXPECT_EQ(calls_of("<|channel|>commentary to=functions.get <|constrain|>json<|message|>"
                       "{\"city\": \"Paris\"}<|call|>"),
              R"(get{"city":"Paris"})");
    EXPECT_EQ(calls_of("<|channel|>commentary to=functions.now<|message|>{}"), "now{}");
}

TEST(ToolCalls, DeepSeek) {
    EXPECT_EQ(
        calls_of("Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n"
                 "```json\n{\"city\": \"Paris\"}\n```<｜tool▁call▁end｜>\n"
                 "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
        R"(get{"city":"Paris"}; now{} | Hm.)");
    EXPECT_EQ(
        calls_of("<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter "
                 "name=\"a\" string=\"true\">12</｜DSML｜parameter>\n<｜DSML｜parameter name=\"b\" "
                 "string=\"false\">12</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
                 "</｜DSML｜function_calls>"),
        R"(f{"a":"12","b":12})");
}

TEST(ToolCalls, Gemma) {
    EXPECT_EQ(calls_of("<start_function_call>call:get{city:<escape>Paris, {x}<escape>,days:2,"
                       "deep:{a:[true,null,<escape>b<escape>]}}<end_function_call>"),
              R"(get{"city":"Paris, {x}","days":2,"deep":{"a":[true,null,"b"]}})");
    EXPECT_EQ(calls_of("<|tool_call>call:now{}<tool_call|><|tool_call>call:f{a:<|\"|>\"q\"<|\"|>}"
                       "<tool_call|>"),
              R"(now{}; f{"a":"\"q\""})");
    EXPECT_EQ(calls_of("```tool_code\nget(city='Paris')\n```"), R"(get{"city":"Paris"})");
}

TEST(ToolCalls, Lfm2) {
    EXPECT_EQ(calls_of("<|tool_call_start|>[get(city=\"Pa\\\"r\\u00e9\", days=-2.5, on=True, "
                       "l=['a', {'k': None}]), now()]<|tool_call_end|>Wait."),
              R"(get{"city":"Pa\"ré","days":-2.5,"on":true,"l":["a",{"k":null}]}; now{} | Wait.)");
}

TEST(ToolCalls, Others) {
    EXPECT_EQ(calls_of("<function name=\"f\"><param name=\"a\"><![CDATA[<x>\n&]]></param><param "
                       "name=\"b\">2</param></function>"),
              R"(f{"a":"<x>\n&","b":2})");
    EXPECT_EQ(calls_of("<atem:function_calls>\n<atem:invoke name=\"a.f\">\n<atem:parameter "
                       "name=\"k\">v</p></atem:parameter>\n</atem:invoke>\n</atem:function_calls>"),
              R"(a.f{"k":"v</p>"})");
    EXPECT_EQ(
        calls_of("<tool_calls>\n<tool_call>f<tool_sep>\n<arg_key>k</arg_key>\n<arg_value>v"
                 "</arg_value>\n</tool_call>\n<tool_call>g<tool_sep></tool_call></tool_calls>"),
        R"(f{"k":"v"}; g{})");
    EXPECT_EQ(calls_of(R"(<tool_calls>[{"name": "f", "arguments": {}}]</tool_calls>)"), "f{}");
    EXPECT_EQ(calls_of("<|tool_call:begin|>a1<|tool_call:name|>f<|tool_call:args|>{}"
                       "<|tool_call:end|>"),
              "f{}#a1");
    EXPECT_EQ(calls_of(R"(functools[{"name": "f", "arguments": {"a": 1}}])"), R"(f{"a":1})");
    EXPECT_EQ(calls_of("<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
                       "<arg_key>n</arg_key><arg_value>2</arg_value>\n</tool_call>"),
              R"(get{"city":"Paris","n":2})");
    EXPECT_EQ(calls_of("<|tool_calls_section_begin|><|tool_call_begin|>functions.get:0"
                       "<|tool_call_argument_begin|>{\"a\":1}<|tool_call_end|>"
                       "<|tool_calls_section_end|>"),
              R"(get{"a":1}#functions.get:0)");
    EXPECT_EQ(calls_of(R"(<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "f", "parameters":
                          {"a": 1}}]<|END_ACTION|>)"),
              R"(f{"a":1}#0)");
    EXPECT_EQ(calls_of(R"(<|tools_prefix|>[{"f": {"a": 1}}, {"g": {}}]<|tools_suffix|>)"),
              R"(f{"a":1}; g{})");
    EXPECT_EQ(
        calls_of("<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"a\">x</parameter>"
                 "\n</invoke>\n</minimax:tool_call>"),
        R"(f{"a":"x"})");
    EXPECT_EQ(calls_of(R"(<TOOLCALL>[{"name": "f", "arguments": {}}]</TOOLCALL>)"), "f{}");
    EXPECT_EQ(calls_of(R"(<|tool_call|>[{"name": "f", "arguments": {}}])"), "f{}");
}

TEST(ToolCalls, ValuesAsPythonWritesThem) {
    // As templates show them that write a value by Jinja's own way.
    EXPECT_EQ(calls_of("<function=f><parameter=a>\nFalse\n</parameter><parameter=b>None</parameter>"
                       "<parameter=c>[1, 'a', {'b': True}]</parameter></function>"),
              R"(f{"a":false,"b":null,"c":[1,"a",{"b":true}]})");
    EXPECT_EQ(calls_of("<tool_calls>[{\"name\": \"f\", \"arguments\": {'a': 'it\\'s \"x\"', 'b': "
                       "True}}]</tool_calls>"),
              R"(f{"a":"it's \"x\"","b":true})");
    EXPECT_EQ(
        calls_of(R"(<tool_call>{'name': 'f', 'arguments': {'a': '\ud83d\ude00\/'}}</tool_call>)"),
        R"(f{"a":"😀/"})");
    EXPECT_EQ(calls_of(R"(<tool_call>{'name': 'f', 'arguments': {'a': 1 'b': 2}}</tool_call>)"),
              R"(!what is in braces is no JSON | <tool_call>{'name': 'f', 'arguments': )"
              R"({'a': 1 'b': 2}}</tool_call>)");
    EXPECT_EQ(calls_of("<|tool_call>call:f{a:None}<tool_call|>"), R"(f{"a":null})");
}

TEST(ToolCalls, TextsByTheToolsSchemas) {
    const ToolTypes types(R"([{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": ["string", "null"]},
        "c": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "d": {"type": "integer"},
        "e": {"anyOf": [{"type": "string"}, {"type": "number"}]}}}}}])");
    const auto arguments = [&](std::string_view text) {
        const ToolCalls found = read_tool_calls(text, types);
        return found.calls.size() == 1 ? found.calls[0].arguments : "?";
    };
    EXPECT_EQ(arguments("<function=f><parameter=a>\n12\n</parameter><parameter=b>null</parameter>"
                        "<parameter=c>true</parameter><parameter=d>12</parameter>"
                        "<parameter=e>12</parameter><parameter=g>12</parameter></function>"),
              R"({"a":"12","b":null,"c":"true","d":12,"e":12,"g":12})");
    EXPECT_EQ(arguments("<tool_call>f<arg_key>a</arg_key><arg_value>[1]</arg_value></tool_call>"),
              R"({"a":"[1]"})");
    EXPECT_EQ(arguments("<minimax:tool_call><invoke name=\"f\"><parameter name=\"a\">1.50"
                        "</parameter></invoke></minimax:tool_call>"),
              R"({"a":"1.50"})");
    EXPECT_EQ(arguments("<function=g><parameter=a>12</parameter></function>"), R"({"a":12})");
    // Of a conversation, and without `function`; what is no tools says nothing.
    const auto type = [](std::string_view json) { return ToolTypes(json).of("f", "a"); };
    constexpr std::string_view kTool =
        R"({"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}})";
    EXPECT_EQ(type("{\"messages\": [], \"tools\": [" + std::string(kTool) + "]}"),
              ToolTypes::Type::text);
    for (const char* none :
         {"", "[", "{}", "[1, null]", R"({"tools": 1})", R"([{"name": "f", "parameters": 1}])",
          R"([{"name": 1}])", R"([{"name": "f", "parameters": {"properties": {"a": []}}}])"})
        EXPECT_EQ(type(none), ToolTypes::Type::unknown) << none;
    EXPECT_EQ(type(std::string(100'000, '[')), ToolTypes::Type::unknown);
}

TEST(ToolCalls, WholeAnswers) {
    EXPECT_EQ(calls_of(R"([{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}])"),
              R"(f{"a":1}; g{})");
    EXPECT_EQ(calls_of("[f(a=\"x\", b=[1, 2]), g()]"), R"(f{"a":"x","b":[1,2]}; g{})");
    // What is none stays a text, without a word.
    EXPECT_EQ(calls_of("[f(1), g()]"), " | [f(1), g()]");
    EXPECT_EQ(calls_of("[a](https://b.c/d(e))"), " | [a](https://b.c/d(e))");
    EXPECT_EQ(calls_of(R"([{"name": "Ann"}])"), R"( | [{"name": "Ann"}])");
}

TEST(ToolCalls, FormsOfFewModels) {
    EXPECT_EQ(calls_of("<function_calls>f(a=\"b\")\ng(c=null)</function_calls>"),
              R"(f{"a":"b"}; g{"c":null})");
    EXPECT_EQ(calls_of("<longcat_tool_call>f\n<longcat_arg_key>a</longcat_arg_key>\n"
                       "<longcat_arg_value>b</longcat_arg_value>\n</longcat_tool_call>"),
              R"(f{"a":"b"})");
    EXPECT_EQ(calls_of(R"(<longcat_tool_call>{"name": "f", "arguments": {}}</longcat_tool_call>)"),
              "f{}");
    EXPECT_EQ(calls_of("<tool_calls:opensource>\n<tool_call:opensource>f<tool_sep:opensource>\n"
                       "<arg_key:opensource>a</arg_key:opensource>\n<arg_value:opensource>b"
                       "</arg_value:opensource>\n</tool_call:opensource>\n"
                       "</tool_calls:opensource>"),
              R"(f{"a":"b"})");
    EXPECT_EQ(calls_of("<|action_start|><|plugin|>\n{\"name\": \"f\", \"parameters\": {}}\n"
                       "<|action_end|>"),
              "f{}");
    EXPECT_EQ(calls_of("<|CALL_START|>function\nf\n{\"a\": 1}<|CALL_END|>"), R"(f{"a":1})");
    EXPECT_EQ(calls_of(R"(<|function_call|>{"name": "f", "arguments": {"a": 1}})"), R"(f{"a":1})");
    EXPECT_EQ(calls_of(" -> tool/function_call\n[{\"name\": \"f\", \"arguments\": {}}]"), "f{}");
    EXPECT_EQ(calls_of("<|python_start|>[f(a=1)]<|python_end|>"), R"(f{"a":1})");
    EXPECT_EQ(calls_of(R"(<|python_start|><|python_end|>{"name": "f", "parameters": {"a": 1}})"),
              R"(f{"a":1})");
    EXPECT_EQ(calls_of("<tool_call>f\n```json\n{\"a\": 1}\n```</tool_call>"), R"(f{"a":1})");
    EXPECT_EQ(calls_of("<|tool_call_start|>\n```python\nf(a=1)\n```\n<|tool_call_end|>"),
              R"(f{"a":1})");
}

TEST(ToolCalls, NothingIsCalledInAThought) {
    constexpr const char* kCall = R"(<tool_call>{"name": "f", "arguments": {}}</tool_call>)";
    const std::string thought = std::string("<think>\nI could ") + kCall + "\n</think>";
    EXPECT_EQ(calls_of(thought + "\n\n" + kCall), "f{} | " + thought);
    EXPECT_EQ(calls_of("\n" + thought + "No."), " | \n" + thought + "No.");
    EXPECT_EQ(calls_of(std::string("<think>") + kCall), std::string(" | <think>") + kCall);
    EXPECT_EQ(
        calls_of(std::string("[THINK]") + kCall + R"([/THINK]{"name": "g", "parameters": {}})"),
        std::string("g{} | [THINK]") + kCall + "[/THINK]");
    // What is no thought at the begin is none.
    EXPECT_EQ(calls_of(std::string(kCall) + "<think>"), "f{} | <think>");
}

TEST(ToolCalls, WhatIsMalformedStaysAndSaysSo) {
    const auto said = [](std::string_view text) { return calls_of(text); };
    EXPECT_SAYS(
        said(R"(<tool_call>{"name": "f", "arguments": {</tool_call> and on)"),
        R"(!the JSON does not come to its end | <tool_call>{"name": "f", "arguments": {</tool_call> and on)");
    EXPECT_SAYS(said(R"(<tool_call>{"name": f}</tool_call>)"), "!… is no JSON | …");
    EXPECT_SAYS(said(R"(<tool_call>{"arguments": {}, "x": 1}</tool_call>)"),
                "!… names no function | …");
    EXPECT_SAYS(said(R"(<tool_call>{"name": "f", "arguments": [1]}</tool_call>)"),
                "!… arguments of f are no JSON object | …");
    EXPECT_SAYS(said(R"(<tool_call>{"name": "f", "argu)"), "!… </tool_call> is missing | …");
    EXPECT_SAYS(said("<tool_call></tool_call>"), "!there is nothing in it | …");
    EXPECT_SAYS(said("<|tool_call_start|>[f(1)]<|tool_call_end|>"),
                "!an argument of f has no name | …");
    EXPECT_SAYS(said("[TOOL_CALLS]f"), "!… a name and arguments | …");
    EXPECT_SAYS(said("<|tool_call>call:f{a:<|\"|>b}<tool_call|>"),
                "!a text does not come to its end | …");
    EXPECT_SAYS(said(R"({"name": "f", "parameters": {"a": })"), "!… | …");
    // A good one beside it is one.
    EXPECT_SAYS(said(R"(<tool_call>no</tool_call><tool_call>{"name": "f"}</tool_call>)"),
                "no{}; f{}");
    EXPECT_SAYS(said(R"(<tool_call>{</tool_call><tool_call>{"name": "f"}</tool_call>)"),
                "!…; f{} | …");
}

// Deep, long and many, without a stack's end or a time that grows by the square.
// Which of two counts is another thing to each reader: what was checked need not be what is run.
TEST(ToolCalls, WhatIsGivenTwiceIsMalformed) {
    for (const std::string_view call :
         {R"(<tool_call>{"name": "f", "arguments": {"a": 1, "a": 2}}</tool_call>)",
          R"(<tool_call>{"name": "f", "arguments": "{\"a\": 1, \"a\": 1}"}</tool_call>)",
          R"(<tool_call>{"name": "f", "arguments": {"b": [{"a": 1, "\u0061": 2}]}}</tool_call>)",
          R"([TOOL_CALLS]f[ARGS]{"a": 1, "b": 2, "a": 3})",
          "<function=f><parameter=a>1</parameter><parameter=a>2</parameter></function>",
          R"(<minimax:tool_call><invoke name="f"><parameter name="a">1</parameter>)"
          R"(<parameter name="a">2</parameter></invoke></minimax:tool_call>)",
          "<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value><arg_key>a</arg_key>"
          "<arg_value>2</arg_value></tool_call>",
          "<|tool_call_start|>[f(a=1, a=2)]<|tool_call_end|>",
          "<|tool_call_start|>[f(b={'a': 1, 'a': 2})]<|tool_call_end|>",
          "<start_function_call>call:f{a:1,a:2}<end_function_call>",
          R"({"name": "f", "parameters": {"a": 1, "a": 2}})"}) {
        const std::string read = calls_of(call);
        EXPECT_EQ(read, "!'a' is given twice | " + std::string(call)) << call;
    }
    EXPECT_SAYS(calls_of(R"(<tool_call>{"name": "f", "name": "g"}</tool_call>)"),
                "!'name' is given twice …");
    const ToolCalls message = calls_of_answer(
        R"({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "a": 2}}}]})");
    ASSERT_EQ(message.calls.size(), 1u);
    EXPECT_EQ(message.calls[0].error, "'a' is given twice");
    // The same key in objects apart is given once in each; where a value may be a text, it is one.
    EXPECT_EQ(calls_of(R"([TOOL_CALLS]f[ARGS]{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})"),
              R"(f{"a":{"a":1},"b":[{"a":1},{"a":2}]})");
    EXPECT_EQ(calls_of(R"(<function=f><parameter=x>{"a": 1, "a": 2}</parameter></function>)"),
              R"(f{"x":"{\"a\": 1, \"a\": 2}"})");
}

TEST(ToolCalls, BoundedOnWhateverComes) {
    for (const char* open :
         {"<tool_call>", "[TOOL_CALLS]", "<|tool_call>call:f{a:", "<function=f>",
          "<|tool_call_start|>[f(a=", "<|python_tag|>", "<tool_call><arg_key>",
          "<tool_call></tool_call>", "<minimax:tool_call><invoke name=\"",
          "<function name=\"f\"><param name=\"a\">", "<tool_calls>", "<|channel|>commentary to="})
        for (const char* more :
             {"[", "{\"a\":", "<tool_call>", "</tool_call>", "(", "\"", "{a:", "<", "parameter>",
              "<function=", "[TOOL_CALLS]", "<｜tool▁calls▁begin｜>"}) {
            std::string text = open;
            while (text.size() < 300'000) text += more;
            const ToolCalls found = read_tool_calls(text);
            EXPECT_LE(found.calls.size(), 1001u);
            EXPECT_LE(found.content.size(), text.size());
        }
    std::string deep = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ";
    for (int i = 0; i < 60; ++i) deep += "[";
    for (int i = 0; i < 60; ++i) deep += "]";
    EXPECT_EQ(read_tool_calls(deep + "}}</tool_call>").calls[0].error, "");
}

// What is beyond the most that are read is told by a last row, in each form of an answer.
TEST(ToolCalls, TooManyAreToldOf) {
    const auto times = [](size_t count, const std::string& text, const char* between = "") {
        std::string all;
        for (size_t i = 0; i < count; ++i) all += (i == 0 ? "" : between) + text;
        return all;
    };
    const std::string call = R"({"name": "f", "arguments": {}})";
    const auto tagged = [&](size_t count) {
        return times(count, "<tool_call>" + call + "</tool_call>");
    };
    const auto message = [&](size_t count, const std::string& more = "") {
        return R"({"role": "assistant", "tool_calls": [)" + times(count, call, ", ") + "]" + more +
               "}";
    };
    for (const std::string& most : {tagged(1000), message(1000)}) {
        const ToolCalls found = calls_of_answer(most);
        ASSERT_EQ(found.calls.size(), 1000u);
        EXPECT_EQ(found.calls.back().error, "");
    }
    for (const std::string& more :
         {tagged(1001), tagged(5000), message(1001), message(5000), tagged(1000) + "<tool_call>",
          message(1000, R"(, "malformed_tool_calls": [{"error": "x", "text": "y"}])")}) {
        const ToolCalls found = calls_of_answer(more);
        ASSERT_EQ(found.calls.size(), 1001u);
        EXPECT_EQ(found.calls[999].error, "");
        EXPECT_SAYS(found.calls.back().error, "more than 1000 calls in one answer: …");
        EXPECT_NE(found.calls.back().text, "");
        EXPECT_EQ(found.calls.back().name, "");
    }
    const ToolCalls list = calls_of_answer("[TOOL_CALLS][" + times(1001, call, ",") + "]");
    ASSERT_EQ(list.calls.size(), 1u);
    EXPECT_SAYS(list.calls[0].error, "more than 1000 calls in one answer: …");
}

TEST(ToolCalls, IdsAreNineLettersAndDigitsAndRepeatable) {
    const std::string id = made_call_id("an answer", 0);
    EXPECT_EQ(id.size(), 9u);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz"), std::string::npos);
    EXPECT_EQ(id, made_call_id("an answer", 0));
    EXPECT_NE(id, made_call_id("an answer", 1));
    EXPECT_NE(id, made_call_id("another", 0));
}

}  // namespace
}  // namespace llmsql
