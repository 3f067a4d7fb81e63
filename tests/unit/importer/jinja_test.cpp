// SPDX-License-Identifier: MIT
// Which ways of writing a template are one template.
#include "importer/jinja.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace llmsql::test {
namespace {

std::string canonical(std::string_view text) {
    return canonical_jinja(text).value_or("(not read)");
}

TEST(Jinja, WaysOfWritingOneTemplate) {
    const std::vector<std::vector<std::string>> same{
        {"{{ a }}", "{{a}}", "{{\n  a\t}}", "{{ a }}\n", "{{ a }}\r\n", "{# note #}{{ a }}",
         "{{- a -}}"},
        {"{{ 'a\\n\"' }}", "{{ \"a\\n\\\"\" }}", "{{ 'a\n\"' }}", "{{ 'a' + '\\n' + '\"' }}"},
        {"x{% if a %}y{% endif %}", "x  {%- if a %}y{% endif %}", "x{% if a -%}\n  y{%- endif %}",
         "x{% if a %}{# c #}y{% endif %}", "x{#- c -#}\n{% if a %}y{% endif %}"},
        {"{{ message.role }}", "{{ message['role'] }}", "{{ message[\"role\"] }}"},
        {"{{ messages[0].content }}", "{{ messages[0]['content'] }}"},
        {"{{ a + '<|im_end|>\\n' }}", "{{ a + '<|im_end|>' + '\\n' }}"},
        {"a\nb", "a\r\nb", "a\rb"},
    };
    for (const auto& group : same) {
        for (const std::string& text : group)
            EXPECT_EQ(canonical(text), canonical(group[0])) << text;
        for (const auto& other : same) {
            if (&other != &group) {
                EXPECT_NE(canonical(group[0]), canonical(other[0]));
            }
        }
    }
}

TEST(Jinja, TemplatesThatDiffer) {
    const std::vector<std::pair<std::string, std::string>> differ{
        {"a b", "ab"},
        {"{{ a }} ", "{{ a }}"},
        {"{{ a }}\n\n", "{{ a }}\n"},
        {"\n{{ a }}", "{{ a }}"},
        {"{{ 'a b' }}", "{{ 'ab' }}"},
        {"{{ 'a' }}", "{{ a }}"},
        {"{{ a b }}", "{{ ab }}"},
        {"{{ a }}", "{% a %}"},
        {"{{ a }}b", "{{ a ~ 'b' }}"},
        {"{{ a == b }}", "{{ a = = b }}"},
        {"{{ 'a' + 'b'|trim }}", "{{ 'ab'|trim }}"},
        {"{{ 2 * 'a' + 'b' }}", "{{ 2 * 'ab' }}"},
        {"{{ 'a' + 'b'[0] }}", "{{ 'ab'[0] }}"},
        {"{{ a in ['role'] }}", "{{ a in .role }}"},
        {"{{ message['tool'] }}", "{{ message.tool }}"},  // not known to be a key
        {"a  {# c #}  {%- if b %}", "a{# c #}  {%- if b %}"},
        {"{{ a -}} {# c #} b", "{{ a -}} {# c #}b"},
        {"{{ a - b }}", "{{ a -b -}}c"},
        {"{{ 'a\\'' }}", "{{ 'a\\\\' }}"},
        {"t1:a", "{{ a }}"},
    };
    for (const auto& [one, other] : differ) EXPECT_NE(canonical(one), canonical(other)) << one;
}

TEST(Jinja, WhatItDoesNotReadIsNoTemplate) {
    for (const char* text :
         {"{{ a", "{% if", "{# c", "{{ 'a }}", "{{ {'a': 1} }}", "{% raw %}x{% endraw %}",
          "{%+ if a %}", "{{ '\\x41' }}", "{{ '\\", "{{ é }}", "{{ a ! }}", "{{ a"})
        EXPECT_FALSE(canonical_jinja(text)) << text;
}

TEST(Jinja, AMegabyteTakesOnePass) {
    for (const char* part : {"{", "{#-#}  ", "{# #}  ", "{{ a['role'] }}", "  {%- a -%}  ", "\\n",
                             "\r", "{{ 'a' + 'b' }}"}) {
        std::string text;
        while (text.size() < 1'000'000) text += part;
        canonical_jinja(text);
        text = "{{ " + text + " }}";
        canonical_jinja(text);
    }
}

}  // namespace
}  // namespace llmsql::test
