// SPDX-License-Identifier: MIT
// The graph language: one file an architecture. docs/graph-language.md is its reference.
//
// The parser made from this grammar is used in compiler/parse/parser.cpp alone. Words that open a
// declaration are keywords only there and names everywhere else; `name` lists them.
grammar Graph;

options { superClass = ParserBase; }

@parser::postinclude {
#include "compiler/parse/parser_base.h"
using llmsql::compiler::ParserBase;
}

graph: 'graph' name annotation* '{' declaration* '}' EOF;

declaration: number | let | require | ignore | parameter | state | block | define | forward;

number: kind=('dim' | 'const') name ('=' expression)? annotation* ';';

let: 'let' name '=' expression annotation* ';';

require: 'require' expression (',' STRING)? ';';

ignore: 'ignore' annotation+ ';';

parameter: optional='optional'? 'param' name ':' shape ('=' name)? ('when' expression)? annotation* ';';

state: 'state' name ':' shape ';';

block: 'block' name '[' expression ']' '{' blockItem* '}';

blockItem: parameter | state | let | number;

define: 'define' name '(' name (',' name)* ')' '=' expression ';';

forward: 'forward' '(' name ':' name '[' name ']' ')' '->' name shape '{' statement* '}';

annotation: '@' name '(' expression (',' expression)* ')';

shape: '[' expression (',' expression)* ']';

statement
    : name '=' expression ';'                                          # assignment
    | 'for' name 'in' name body                                        # loop
    | 'if' expression body ('else' 'if' expression body)* last=otherwise?   # branch
    | 'return' expression ';'                                          # give
    ;

otherwise: 'else' body;

body: '{' statement* '}';

expression
    : '(' expression ')'                                    # group
    | NUMBER                                                # literal
    | STRING                                                # text
    | value=('true' | 'false')                              # truth
    | name '(' (argument (',' argument)*)? ')'              # call
    | name '.' name                                         # member
    | name                                                  # variable
    | op=('-' | '!') expression                             # unary
    | expression op=('*' | '/' | '%') expression            # binary
    | expression op=('+' | '-') expression                  # binary
    | expression op=('<' | '<=' | '>' | '>=') expression    # binary
    | expression op=('==' | '!=') expression                # binary
    | expression op='&&' expression                         # binary
    | expression op='||' expression                         # binary
    | <assoc=right> expression sign='?' expression ':' expression # conditional
    ;

argument: (name '=')? expression;

name
    : NAME | 'graph' | 'dim' | 'const' | 'let' | 'require' | 'ignore' | 'optional' | 'param' | 'state'
    | 'block' | 'forward' | 'in' | 'when' | 'define'
    ;

NUMBER: DIGIT+ ('.' DIGIT+)? ([eE] [+-]? DIGIT+)?;
NAME: [A-Za-z_] [A-Za-z_0-9]*;
STRING: '"' ~["\r\n]* '"';
COMMENT: '//' ~[\r\n]* -> skip;
SPACE: [ \t\r\n]+ -> skip;

// Anything else becomes a token too, so that the parser reports it like any other surprise.
UNCLOSED: '"' ~["\r\n]*;
UNKNOWN: .;

fragment DIGIT: [0-9];
