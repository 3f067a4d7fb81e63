# Completion of llmsql, llmsqlc, llmsql-run and llmsql-import in fish: options and what they mean as --help says it. fish
# looks for a program's completions in the file that is called as it is, so this is installed under each of the names.

# "--option<tab>what it means", a line each, of a --help on standard input.
function __llmsql_options_of_help
    while read -l line
        string match -qr -- '^  -|^ {20,}(.*, )?--' $line; or continue
        set -l named (string replace -r '\s{2,}.*' '' -- (string trim -- $line))
        set -l meaning (string replace -rf '^.*?\S\s{2,}' '' -- $line)
        # "--kv TYPE    keys and values, --chunk N: as llmsqlc --help says": others stand in the text.
        for option in (string match -ra -- '(?<=^|, )--?[a-z][a-z-]*' $named) (string match -ra -- '(?<=, )--[a-z][a-z-]*(?= [A-Z]|$)' "$meaning")
            printf '%s\t%s\n' $option $meaning
        end
    end
end

# Of a program's --help, or of the page of a command of llmsql's.
function __llmsql_options
    command $argv --help 2>/dev/null | __llmsql_options_of_help
end

function __llmsql_options_of_command
    set -l name (commandline -opc)[2]
    switch $name
        case import
            __llmsql_options llmsql-import
        case compile
            __llmsql_options llmsqlc
        case run
            __llmsql_options llmsql run
            __llmsql_options llmsql-run
        case '*'
            __llmsql_options llmsql $name
    end
end

# Whether an option is wanted, or a value of one of those that are named.
function __llmsql_wants_option
    string match -q -- '-*' (commandline -ct)
end
function __llmsql_after
    contains -- (commandline -opc)[-1] $argv
end

# The models of the cache: the beginning of a name, and the source.
function __llmsql_cached
    command llmsql cache ls 2>/dev/null | string match -rg '^([0-9a-f]{8})  .* (/.*)' | while read -l key
        read -l source
        printf '%s\t%s\n' $key $source
    end
end

function __llmsql_is_command
    set -l words (commandline -opc)
    test (count $words) -gt 1; and contains -- $words[2] $argv
end

complete -c llmsql -n "test (count (commandline -opc)) -eq 1" -f -a "run\t'talk to a model, or go on with a text'
show\t'what is in a model, and the memory that it takes'
bench\t'how fast it is here'
verify\t'check all of its weights'
prepare\t'import and compile, and say where it lies'
cache\t'the models that run has imported'
import\t'make a model database'
compile\t'make a plan'
help\t'more of a command'"
complete -c llmsql -n "__llmsql_is_command cache help" -f
complete -c llmsql -n "__llmsql_is_command cache; and test (count (commandline -opc)) -eq 2" -a "ls rm limit"
complete -c llmsql -n "__llmsql_is_command cache; and __llmsql_after rm" -a "(__llmsql_cached)"
complete -c llmsql -n "__llmsql_is_command help" -a "run show bench verify prepare cache import compile"
complete -c llmsql -n "__llmsql_is_command run show bench verify prepare import compile; and __llmsql_wants_option" -a "(__llmsql_options_of_command)"
for program in llmsqlc llmsql-run llmsql-import
    complete -c $program -n __llmsql_wants_option -a "(__llmsql_options $program)"
end
for program in llmsql llmsqlc llmsql-run llmsql-import
    complete -c $program -n "__llmsql_after --kv" -f -a "f16 q8"
    complete -c $program -n "__llmsql_after --weights" -f -a "auto q8 q4 f16 f32"
    complete -c $program -n "__llmsql_after --emit" -f -a "ast graph sql html memory schedule operators"
    complete -c $program -n "__llmsql_after --io" -f -a "auto read map direct blob"
    complete -c $program -n "__llmsql_after --kernels" -f -a "portable avx2 avxvnni avx512 amx neon i8mm"
end
