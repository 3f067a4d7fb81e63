# Completion of llmsql, llmsqlc, llmsql-run and llmsql-import in fish: options and what they mean as --help says it.

# "--option<tab>what it means", a line each, of programs' --help.
function __llmsql_options
    for program in $argv
        command $program --help 2>/dev/null | string match -r '^  -.*' | while read -l line
            set -l meaning (string replace -r '^.*?\s{2,}' '' -- (string trim -- $line))
            for option in (string match -ra -- '(?<=^|, |\s)--?[a-z][a-z-]*' (string replace -r '\s{2,}.*' '' -- (string trim -- $line)))
                printf '%s\t%s\n' $option $meaning
            end
        end
    end
end

function __llmsql_run_options
    command llmsql help run 2>/dev/null | string match -ra -- '--?[a-z][a-z-]*(?=[ ,])'
    __llmsql_options llmsql-run
end

set -l commands run show bench verify prepare cache import compile help
complete -c llmsql -n "not __fish_seen_subcommand_from $commands" -f -a "$commands"
complete -c llmsql -n "__fish_seen_subcommand_from cache" -f -a "ls rm limit"
complete -c llmsql -n "__fish_seen_subcommand_from help" -f -a "run cache"
complete -c llmsql -n "__fish_seen_subcommand_from run show bench verify prepare; and string match -q -- '-*' (commandline -ct)" -a "(__llmsql_run_options)"
complete -c llmsql -n "__fish_seen_subcommand_from import; and string match -q -- '-*' (commandline -ct)" -a "(__llmsql_options llmsql-import)"
complete -c llmsql -n "__fish_seen_subcommand_from compile; and string match -q -- '-*' (commandline -ct)" -a "(__llmsql_options llmsqlc)"
for program in llmsqlc llmsql-run llmsql-import
    complete -c $program -n "string match -q -- '-*' (commandline -ct)" -a "(__llmsql_options $program)"
end
