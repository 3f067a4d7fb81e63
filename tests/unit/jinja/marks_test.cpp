// SPDX-License-Identifier: MIT
// What a user gave stays marked as a user's through whatever a template does to it, and what a
// template writes stays the template's.
#include <gtest/gtest.h>

#include <string>

#include "jinja/template.h"

namespace llmsql::jinja {
namespace {

/// What a template makes of x = "<U>" and others, with [brackets] around what counts as a user's.
std::string marked(const std::string& source) {
    const Value variables = value_of_json(
        R"({"x": "<U>", "y": " a<U>b ", "l": ["<U>", "v"], "d": {"<K>": "<U>", "n": 1}, "n": 42,
            "t": "<U>\n<V>", "e": "Ä<U>"})",
        true, "variables");
    std::string text;
    for (const Piece& piece : Template(source).render(variables, 0))
        text += piece.markup ? piece.text : "[" + piece.text + "]";
    return text;
}

TEST(Marks, OfTemplatesAndUsers) {
    EXPECT_EQ(marked("<T>{{ x }}<T>"), "<T>[<U>]<T>");
    EXPECT_EQ(marked("{{ '<T>' }}{{ x }}{{ '<T>' + x + '<T>' }}"), "<T>[<U>]<T>[<U>]<T>");
    EXPECT_EQ(marked("{{ '<T>' ~ x ~ 1 }}"), "<T>[<U>]1");
    EXPECT_EQ(marked("{% set a %}<T>{{ x }}{% endset %}{{ a }}"), "<T>[<U>]");
    EXPECT_EQ(marked("{% macro f(a) %}<T>{{ a }}{% endmacro %}{{ f(x) }}{{ f('<T>') }}"),
              "<T>[<U>]<T><T>");
    EXPECT_EQ(marked("{% set ns = namespace(a=x) %}{% set ns.a = ns.a + '<T>' %}{{ ns.a }}"),
              "[<U>]<T>");
    EXPECT_EQ(marked("{% filter upper %}<t>{{ x }}{% endfilter %}"), "<T>[<U>]");
    EXPECT_EQ(marked("{% generation %}<T>{{ x }}{% endgeneration %}"), "<T>[<U>]");
    EXPECT_EQ(marked("{% for c in x %}{{ c }}{% endfor %}{% for k in d %}{{ k }}{% endfor %}"),
              "[<U><K>n]");
}

TEST(Marks, ThroughFilters) {
    for (const char* filter : {"upper",
                               "lower",
                               "capitalize",
                               "title",
                               "trim",
                               "string",
                               "safe",
                               "e",
                               "escape",
                               "forceescape",
                               "center(7)",
                               "indent",
                               "indent(2, true)",
                               "truncate(3, true, '', 0)",
                               "replace('q', 'U')",
                               "reverse",
                               "list | join",
                               "default('<T>')",
                               "urlencode",
                               "tojson",
                               "tojson(ensure_ascii=true)",
                               "first",
                               "last",
                               "format",
                               "map('upper') | join",
                               "sort | join",
                               "unique | join",
                               "batch(1) | map('join') | join",
                               "slice(1) | map('join') | join",
                               "max",
                               "min",
                               "select | join",
                               "wordcount | string ~ x"}) {
        const std::string text = marked(std::string("{{ x | ") + filter + " }}");
        std::string outside;
        bool within = false;
        for (const char c : text) {
            if (c == '[' || c == ']')
                within = c == '[';
            else if (!within)
                outside += c;
        }
        // Nothing of x's own characters is outside.
        EXPECT_EQ(outside.find_first_of("<>Uu"), std::string::npos) << filter << ": " << text;
        EXPECT_NE(text.find('['), std::string::npos) << filter << ": " << text;
    }
    EXPECT_EQ(marked("{{ x | replace('U', '<T>') }}"), "[<]<T>[>]");
    EXPECT_EQ(marked("{{ '<T>a' | replace('a', x) }}"), "<T>[<U>]");
    EXPECT_EQ(marked("{{ l | join('<T>') }}"), "[<U>]<T>[v]");
    EXPECT_EQ(marked("{{ '<T>%s<T>' | format(x) }}{{ '<T>%s' % x }}{{ '{}<T>{}'.format(x, x) }}"),
              "<T>[<U>]<T><T>[<U><U>]<T>[<U>]");
    EXPECT_EQ(marked("{{ x | format }}{{ (x ~ '%s') | format('<T>') }}"), "[<U><U>]<T>");
    EXPECT_EQ(marked("{{ d | tojson }}"), R"([{"<K>": "<U>", "n": 1}])");
    EXPECT_EQ(marked("{{ d | dictsort | first | first }}{{ d | items | list | first | join }}"),
              "[<K><K><U>]");
    EXPECT_EQ(marked("{{ ['<T>', x] | tojson }}"), "[[\"]<T>[\", \"<U>\"]]");
    EXPECT_EQ(marked("{{ missing | default(x) }}{{ x | default('<T>') }}"), "[<U><U>]");
    EXPECT_EQ(marked("{{ t | indent('<T>') }}"), "[<U>]\n<T>[<V>]");
    EXPECT_EQ(marked("{{ l }}{{ d }}{{ (x,) }}"), "[['<U>', 'v']{'<K>': '<U>', 'n': 1}('<U>',)]");
}

TEST(Marks, ThroughMethods) {
    EXPECT_EQ(marked("{{ y.strip() }}|{{ y.lstrip() }}|{{ y.rstrip('b ') }}"),
              "[a<U>b]|[a<U>b ]|[ a<U>]");
    EXPECT_EQ(marked("{{ y.split('<')[1] }}|{{ ('<T>' + y).split('a')[0] }}"), "[U>b ]|<T>[ ]");
    EXPECT_EQ(marked("{{ '<T>'.join(l) }}|{{ x.join(['<T>', '<T>']) }}"),
              "[<U>]<T>[v]|<T>[<U>]<T>");
    EXPECT_EQ(marked("{{ x.replace('U', '<T>') }}|{{ '<T>U'.replace('U', x) }}"),
              "[<]<T>[>]|<T>[<U>]");
    EXPECT_EQ(marked("{{ x.upper() }}{{ x.lower() }}{{ x.title() }}{{ x.swapcase() }}{{ "
                     "x.casefold() }}{{ x.capitalize() }}"),
              "[<U><u><U><u><u><u>]");
    EXPECT_EQ(
        marked(
            "{{ x.center(5, '*') }}|{{ x.zfill(4) }}|{{ x.ljust(4) }}|{{ '<T>'.rjust(4, x[0]) }}"),
        "*[<U>]*|0[<U>]|[<U>] |[<]<T>");
    EXPECT_EQ(marked("{{ t.splitlines() | join('<T>') }}|{{ x.partition('U') | join }}"),
              "[<U>]<T>[<V>]|[<U>]");
    EXPECT_EQ(marked("{{ x[1:] }}{{ x[::-1] }}{{ x[0] }}{{ x * 2 }}"), "[U>>U<<<U><U>]");
    EXPECT_EQ(marked("{{ x.removeprefix('<') }}{{ ('<T>' + x).removesuffix('>') }}"),
              "[U>]<T>[<U]");
    EXPECT_EQ(marked("{{ d.get('n') }}{{ d.get('<K>') }}{{ d['<K>'] }}{{ d.items() | list }}"),
              "1[<U><U>[('<K>', '<U>'), ('n', 1)]]");
    EXPECT_EQ(marked("{{ e.upper() }}{{ x.expandtabs() }}"), "[Ä<U><U>]");
}

TEST(Marks, AreNotLookedAtInComparisons) {
    EXPECT_EQ(marked("{{ x == '<U>' }}{{ 'U' in x }}{{ x in ['<U>'] }}{{ x < '<V>' }}{{ {'<U>': "
                     "1}[x] }}{{ d['<K>'] == x }}"),
              "TrueTrueTrueTrue1True");
    EXPECT_EQ(marked("{{ x.startswith('<') }}{{ x.find('U') }}{{ x.count('<') }}{{ ['<U>', x] | "
                     "unique | list | length }}"),
              "True111");
}

TEST(Marks, WhatIsNotUtf8StaysAsItIs) {
    const Value variables = value_of_json("{\"x\": \"a\xff\xc3\"}", true, "variables");
    const auto pieces = Template("{{ x }}{{ x | length }}").render(variables, 0);
    ASSERT_EQ(pieces.size(), 2u);
    EXPECT_EQ(pieces[0], (Piece{"a\xff\xc3", false}));
    EXPECT_EQ(pieces[1], (Piece{"3", true}));
}

}  // namespace
}  // namespace llmsql::jinja
