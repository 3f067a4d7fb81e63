# Completion of llmsql, llmsqlc, llmsql-run and llmsql-import in bash. Which options there are is asked of the
# program itself (--help); values of some, and which files fit, are said here.

# Folders, and files that end in one of the given words.
_llmsql_files() {
  local word=$1 ending file
  shift
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -d -- "$word")
  for ending in "$@"; do
    while IFS= read -r file; do
      [[ -d $file ]] || COMPREPLY+=("$file")
    done < <(compgen -f -X "!*$ending" -- "$word")
  done
}

# The options that --help texts on standard input list, those in the text beside others too.
_llmsql_options() {
  grep -E '^  +-|^ {20,}(.*, )?--' | sed 's/: as .*//' | grep -oE -- '(^ +|, )--?[a-z][a-z-]*' | grep -oE -- '--?[a-z].*'
}

# llmsql: its command first, then what that takes.
_llmsql_command() {
  local program=$1 word=$2 folder=
  COMPREPLY=()
  [[ $program != */* ]] || folder=${program%/*}/
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "run show bench verify prepare cache import compile help --help --version" -- "$word")
    return
  fi
  case ${COMP_WORDS[1]} in
    cache)
      if ((COMP_CWORD == 2)); then
        mapfile -t COMPREPLY < <(compgen -W "ls rm limit" -- "$word")
      elif [[ ${COMP_WORDS[2]} == rm ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--all $("$program" cache ls 2>/dev/null | grep -oE '^[0-9a-f]{8}  ')" -- "$word")
      fi
      ;;
    help) ((COMP_CWORD > 2)) || mapfile -t COMPREPLY < <(compgen -W "run show bench verify prepare cache import compile" -- "$word") ;;
    import) _llmsql "${folder}llmsql-import" "$word" "$3" ;;
    compile) _llmsql "${folder}llmsqlc" "$word" "$3" ;;
    run | show | bench | verify | prepare)
      if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$({
          "$program" help "${COMP_WORDS[1]}"
          [[ ${COMP_WORDS[1]} != run ]] || "${folder}llmsql-run" --help
        } 2>/dev/null | _llmsql_options | sort -u)" -- "$word")
      elif [[ $3 == -[!-] || $3 == --[!-]* || $3 == = ]]; then
        _llmsql "${folder}llmsql-run" "$word" "$3"
      else
        _llmsql_files "$word" .gguf .db
      fi
      ;;
  esac
}

_llmsql() {
  local program=$1 word=$2 option=$3
  # bash takes --kv=q8 for three words.
  if [[ $word == = ]]; then
    word=
  elif [[ $option == = ]]; then
    option=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  local values=
  case $option in
    --emit) values="ast graph sql html memory schedule operators" ;;
    --kv) values="f16 q8" ;;
    --weights) values="auto q8 q4 f16 f32" ;;
    --profile) values="text passes db: html:" ;;
    --trace) values="db: compare: layer. all" ;;
    --io) values="auto read map direct blob" ;;
    --kernels) values="portable avx2 avxvnni avx512 amx neon i8mm" ;;
    --graph-dir) _llmsql_files "$word"; return ;;
    --model | --write-model) _llmsql_files "$word" .toml; return ;;
    --graph) _llmsql_files "$word" .graph; return ;;
    --explain) _llmsql_files "$word" .sql; return ;;
    --install) _llmsql_files "$word" .db; return ;;
    --output | -o | --file | -f | --perplexity | --tokenize | --render | --logits | \
      --session)
      _llmsql_files "$word" ""
      return
      ;;
    --*[!-]* | -[!-]*)
      # Another option with a value: nothing can be proposed. One without: whatever may come next.
      if "$program" --help 2>/dev/null | grep -qE -- "^  (.*, )?$option(, [^ ]*)* [A-Z]"; then return; fi
      ;;
  esac
  if [[ -n $values ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
  elif [[ $word == -* ]]; then
    local options
    options=$("$program" --help 2>/dev/null | _llmsql_options)
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
  else
    case ${program##*/} in
      llmsqlc) _llmsql_files "$word" .toml .graph ;;
      llmsql-run) _llmsql_files "$word" .sql .db ;;
      llmsql-import) _llmsql_files "$word" .gguf ;;
    esac
  fi
}

complete -F _llmsql_command llmsql
complete -F _llmsql llmsqlc llmsql-run llmsql-import
