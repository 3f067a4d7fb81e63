// SPDX-License-Identifier: MIT
// Templates that mean harm end with one line, in bounded time and memory; what is wrong is said
// with its line.
#include "jinja/template.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "common/error.h"

namespace llmsql::jinja {
namespace {

std::string error_of(const std::string& source, const Limits& limits = {}) {
    try {
        Template(source).render(
            value_of_json(R"({"n": 5, "s": "text", "l": [1, 2, 3]})", true, "variables"), 0,
            limits);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

void expect_says(const std::string& source, const std::string& what, const Limits& limits = {}) {
    const std::string error = error_of(source, limits);
    EXPECT_NE(error.find(what), std::string::npos) << source.substr(0, 200) << "\n" << error;
}

std::string repeated(const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
}

TEST(Template, ErrorsNameTheirLine) {
    expect_says("a\nb\n{{ 1 + }}", "line 3: expected an expression");
    expect_says("a\n{% if n %}\nb",
                "line 3: the template ends where elif or else or endif should be");
    expect_says("\n\n{{ n.x.y }}", "line 3: 'int object' has no attribute 'x'");
    expect_says("{% macro f() %}\n{{ missing + 1 }}{% endmacro %}\n\n{{ f() }}",
                "line 2: 'missing' is undefined");
    expect_says("\r\n\r{{ l.append(1) }}",
                "line 3: access to attribute 'append' of 'list' object is unsafe");
    expect_says("{{\n\nraise_exception('no\nway') }}",
                "line 3: the template refuses this conversation: no way");
    expect_says("{# a\n #}\n{% nosuch %}", "line 3: unknown tag 'nosuch'");
    expect_says("\n{{ n | nosuch }}", "line 2: no filter named 'nosuch'");
    expect_says("{{ 'a\nb }}", "line 1: unexpected char '");
}

TEST(Template, EndsWhatDoesNotEnd) {
    const Limits few{.steps = 200'000};
    expect_says("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                "does not end", few);
    expect_says("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply");
    expect_says("{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}",
                "too deeply");
    expect_says("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "too deeply");
    expect_says(
        "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% "
        "endcall %}{% endmacro %}{{ g() }}",
        "too deeply");
    // An hour's work that is no step of the template's.
    expect_says(
        "{% set ns = namespace(s='ab') %}{% for i in range(20) %}{% set ns.s = ns.s + ns.s %}{% "
        "endfor %}"
        "{% for i in range(9999) %}{{ ns.s.count('ba') }}{% endfor %}",
        "does not end", Limits{.steps = 2'000'000});
}

TEST(Template, AsksWhetherToGoOn) {
    int asked = 0;
    const Limits limits{.pulse = [&] {
        if (++asked == 3) fail("interrupted");
    }};
    expect_says("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                "interrupted", limits);
    EXPECT_EQ(asked, 3);
}

TEST(Template, KeepsToItsMemory) {
    const Limits little{.memory = 4 << 20};
    expect_says(
        "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% "
        "endfor %}",
        "too much memory", little);
    expect_says("{{ 'a' * 999999999999 }}", "too much memory", little);
    expect_says("{{ [1] * 999999999 }}", "too much memory", little);
    expect_says("{{ 'a'.center(99999999999) }}", "too much memory", little);
    expect_says("{{ '%99999999999d' % 1 }}", "wider than");
    expect_says("{{ '{:>9999999999}'.format(1) }}", "wider than");
    expect_says("{{ ('a' * 100000).replace('a', 'b' * 1000) }}", "too much memory", little);
    expect_says("{{ ('b' * 1000).join('a' * 100000) }}", "too much memory", little);
    expect_says("{{ ('a' * 100000) | list | join('b' * 1000) }}", "too much memory", little);
    expect_says("{{ ('a\\n' * 10000) | indent(9999) }}", "too much memory", little);
    expect_says(
        "{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l + [1] "
        "%}{% endfor %}",
        "too much memory", little);
    expect_says("{{ range(100000) | list | list }}{{ range(100000) | map('string') | list }}",
                "too much memory", little);
    expect_says("{% for i in range(99999) %}{{ 'a' * 100 }}{% endfor %}", "too much memory",
                little);
    expect_says("{% for i in range(99) %}{{ 'a' * 100 }}{% endfor %}", "makes more than 1000 bytes",
                Limits{.output = 1000});
    expect_says(
        "{% set ns = namespace(d={}) %}{% for i in range(99999) %}{% set ns.d = dict(ns.d, **{('k' "
        "~ i): 1}) %}{% endfor %}",
        "does not end", Limits{.steps = 2'000'000});
}

TEST(Template, KeepsToItsStack) {
    for (const auto& [open, close] :
         {std::pair("(", ")"), std::pair("[", "]"), std::pair("{'a':", "}"), std::pair("f(", ")")})
        expect_says("{{ " + repeated(open, 100'000) + "1" + repeated(close, 100'000) + " }}",
                    "nested too deeply");
    expect_says("{{ " + repeated("not ", 100'000) + "1 }}", "nested too deeply");
    expect_says("{{ " + repeated("-", 100'000) + "1 }}", "nested too deeply");
    expect_says("{{ 1" + repeated("+1", 100'000) + " }}", "operators in a row");
    expect_says("{{ n" + repeated("|string", 100'000) + " }}", "operators in a row");
    expect_says("{{ n" + repeated(".real", 100'000) + " }}", "operators in a row");
    expect_says("{{ n" + repeated(" if n", 100'000) + " }}", "operators in a row");
    expect_says("{{ n" + repeated(" if n else n", 100'000) + " }}", "nested too deeply");
    expect_says(repeated("{% if n %}", 100'000), "nested too deeply");
    expect_says(repeated("{% for i in l %}", 100'000), "nested too deeply");
    expect_says("{% if n %}" + repeated("{% elif n %}", 100'000) + "{% endif %}{{ 1 + }}",
                "line 1");
    // Values nest, iterators go through others, namespaces hold each other.
    expect_says(
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor "
        "%}",
        "nested too deeply");
    expect_says(
        "{% set ns = namespace(l={}) %}{% for i in range(99999) %}{% set ns.l = {1: ns.l} %}{% "
        "endfor %}",
        "nested too deeply");
    expect_says(
        "{% set ns = namespace(l=l) %}{% for i in range(99999) %}{% set ns.l = ns.l | "
        "map('string') %}{% endfor %}",
        "nested too deeply");
    EXPECT_EQ(error_of("{% set ns = namespace(n=none) %}{% for i in range(99999) %}{% set m = "
                       "namespace(n=ns.n) %}{% set ns.n = m %}{% endfor %}"),
              "");
    expect_says("{% set ns = namespace() %}{% set ns.n = ns %}{{ ns }}", "holds itself");
    expect_says(
        "{% set a = namespace() %}{% set b = namespace(a=[a]) %}{% set a.b = (b,) %}{{ a }}",
        "holds itself");
    // A macro made in a macro refers to what holds it.
    EXPECT_EQ(error_of("{% macro f() %}{% macro g() %}{{ n }}{% endmacro %}{% set h = g %}{{ g() "
                       "}}{% endmacro %}{% for i in range(99) %}{{ f() }}{% endfor %}"),
              "");
    EXPECT_EQ(error_of("{% set ns = namespace() %}{% for i in l %}{% set ns.l = loop %}{{ "
                       "loop.last }}{% endfor %}{{ ns.l.index }}"),
              "");
}

TEST(Template, MayBeRenderedByThreads) {
    const Template made(
        "{% macro f(x) %}{{ x | upper }}{% endmacro %}{% for i in l %}{{ f('a' ~ i) }}{% endfor "
        "%}");
    std::vector<std::thread> threads;
    std::vector<std::string> texts(4);
    for (size_t t = 0; t < texts.size(); ++t)
        threads.emplace_back([&, t] {
            const Value variables = value_of_json(R"({"l": [1, 2]})", false, "variables");
            for (int i = 0; i < 50; ++i) texts[t] = made.render(variables, 0).at(0).text;
        });
    for (std::thread& thread : threads) thread.join();
    for (const std::string& text : texts) EXPECT_EQ(text, "A1A2");
}

TEST(Template, Times) {
    EXPECT_EQ(Template("{{ strftime_now('%d %B %Y, %H:%M') }}")
                  .render(Map(), seconds_of("2024-02-29 07:05:00"))
                  .at(0)
                  .text,
              "29 February 2024, 07:05");
    EXPECT_EQ(seconds_of("1970-01-01"), 0);
    EXPECT_EQ(seconds_of("2026-11-29T08:30:05"), 1795941005);
    for (const char* wrong : {"2026-02-30", "2026-13-01", "2026-1-1", "yesterday",
                              "2026-11-29 25:00:00", "2026-11-29Z", ""})
        EXPECT_THROW(seconds_of(wrong), Error) << wrong;
}

TEST(Json, WhatIsNotJsonIsRefused) {
    for (const char* wrong :
         {"", "{", "[1,]", "{\"a\" 1}", "01", "1.", "nul", "\"a", "\"\\x\"", "\"\x01\"", "[1] 2",
          "-", "\"\\u12\"", "99999999999999999999", "{1: 2}", "[1", "tru"})
        EXPECT_THROW(value_of_json(wrong, false, "it"), Error) << wrong;
    EXPECT_THROW(value_of_json(repeated("[", 100'000), false, "it"), Error);
    const auto text = [](const char* json) {
        return bytes_of(text_of(value_of_json(json, false, "it")));
    };
    EXPECT_EQ(text(" [1, -2.50, 1e3, true, null, \"\\u00e9\\ud83d\\ude00\\n\", {\"a\": {}}] "),
              "[1, -2.5, 1000.0, True, None, 'é😀\\n', {'a': {}}]");
    EXPECT_EQ(text("\"\\ud800x\""), "\xef\xbf\xbdx");
}

}  // namespace
}  // namespace llmsql::jinja
