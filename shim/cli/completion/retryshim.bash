# bash completion for retryshim(1). Options with '=' have to have a value.
# tests/programs/test_packaging_completion.py holds it against the command's help.

_retryshim_options()
{
	case $1 in
	run) echo '--attempts= --base-delay= --max-delay= --multiplier= --jitter= --timeout= --fallback= --seed=
		--http-status= --methods= --hosts= --skip-hosts= --programs= --skip-programs= --no-nonblock --no-dns --no-curl
		--unix= --deepbind= --resume --state= --no-budget --budget-burst= --budget-ratio= --budget-per-sec=
		--breaker= --breaker-threshold= --breaker-open= --metrics= --metrics-namespace= --operation= --config=
		--diag --diag-file= --diag-dir= --diag-format= --rerun= --rerun-on= --rerun-output= --rerun-timeout= --print
		--usage --help' ;;
	check) echo '--json --usage --help' ;;
	env) echo '--for= --json --usage --help' ;;
	status) echo '--json --reset --state= --watch --usage --help' ;;
	metrics) echo '--state= --usage --help' ;;
	report) echo '--title= --usage --help' ;;
	tail) echo '--all-events --follow --no-follow --lines= --all --event= --program= --target= --color --trace
		--usage --help' ;;
	help | version) echo '--help' ;;
	esac
}

# The words that the value of a command's option may be; "FILE" and "DIR" stand for paths.
_retryshim_values()
{
	case $2 in
	--jitter) echo 'full equal decorrelated none' ;;
	--unix) echo 'busy all off' ;;
	--deepbind) echo 'auto keep drop' ;;
	--breaker) echo 'pass reject off' ;;
	--diag-format) echo 'text json' ;;
	--rerun-output) echo 'last all' ;;
	--color) echo 'always never auto' ;;
	--event) echo 'attempt_failed succeeded exhausted given_up not_retryable fallback bad_value unused_value' ;;
	--state | --config) [[ $1 != run ]] || echo 'off'; echo 'FILE' ;;
	--diag-file) echo 'FILE' ;;
	--diag-dir) echo 'DIR' ;;
	esac
}

_retryshim_words()
{
	COMPREPLY+=($(compgen -W "$1" -- "$2"))
}

_retryshim_paths()
{
	local path
	compopt -o filenames 2>/dev/null
	while IFS= read -r path; do
		COMPREPLY+=("$path")
	done < <(compgen "$1" -- "$2")
}

_retryshim_value()
{
	local words=" $(_retryshim_values "$1" "$2" | tr '\n' ' ') "
	case $words in
	*' FILE '*) _retryshim_paths -f "$3" ;;
	*' DIR '*) _retryshim_paths -d "$3" ;;
	esac
	words=${words/ FILE / }
	_retryshim_words "${words/ DIR / }" "$3"
}

# Index of the word where the program of `run` or `check` starts; nothing if it is not there yet. bash splits --name=value
# into three words.
_retryshim_program()
{
	local i options=" $(_retryshim_options "${COMP_WORDS[1]}" | tr '\n\t' '  ') "
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			echo $((i + 1))
			return
			;;
		-*)
			if [[ ${COMP_WORDS[i + 1]} == '=' ]]; then
				((i += 2))
			elif [[ $options == *" ${COMP_WORDS[i]}= "* ]]; then
				((i++))
			fi
			;;
		*)
			echo "$i"
			return
			;;
		esac
	done
}

_retryshim_program_name()
{
	case $1 in
	*/*) _retryshim_paths -f "$1" ;;
	*) COMPREPLY+=($(compgen -c -- "$1")) ;;
	esac
}

# What the program itself would be offered, where the package bash-completion is loaded.
_retryshim_command_line()
{
	if declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif ((COMP_CWORD == $1)); then
		_retryshim_program_name "$2"
	else
		_retryshim_paths -f "$2"
	fi
}

_retryshim()
{
	local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} program option options
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_retryshim_words 'run check env status metrics report tail help version --help --version' "$current"
		return
	fi
	case $command in
	run | check)
		program=$(_retryshim_program)
		if [[ $program ]]; then
			_retryshim_command_line "$program" "$current"
			return
		fi
		;;
	esac
	if [[ $current == '=' ]]; then
		option=$before current=
	elif [[ $before == '=' ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	else
		option=$before
		options=" $(_retryshim_options "$command" | tr '\n\t' '  ') "
		[[ $options == *" $option= "* ]] || option=
	fi
	if [[ $option == -* ]]; then
		_retryshim_value "$command" "$option" "$current"
	elif [[ $current == -* ]]; then
		_retryshim_words "$(_retryshim_options "$command")" "$current"
		[[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
	else
		case $command in
		report | tail) _retryshim_paths -f "$current" ;;
		help) _retryshim_words 'run check env status metrics report tail help version' "$current" ;;
		run | check) _retryshim_program_name "$current" ;;
		esac
	fi
}

complete -F _retryshim retryshim
