# fish completion for retryshim(1).
# tests/programs/test_packaging_completion.py holds it against the command's help.

function __retryshim_no_command
    test (count (commandline -opc)) -eq 1
end

# Is this sub-command, one of them, being written, and not yet its program?
function __retryshim_in
    set -l words (commandline -opc)
    test (count $words) -gt 1; and contains -- $words[2] $argv; and not contains -- -- $words
end

function __retryshim_in_program
    set -l words (commandline -opc)
    test (count $words) -gt 1; and contains -- $words[2] run check; and contains -- -- $words
end

# What the program itself would be offered.
function __retryshim_program
    set -l words (commandline -opc)
    set -l start (math (contains -i -- -- $words) + 1)
    set -l line (string escape -- $words[$start..-1]) (commandline -ct)
    complete -C (string join ' ' -- $line)
end

complete -c retryshim -f
complete -c retryshim -n __retryshim_no_command -a run -d 'Run a program with its transient network failures retried'
complete -c retryshim -n __retryshim_no_command -a check -d 'Tell whether and how the shim reaches a program'
complete -c retryshim -n __retryshim_no_command -a env -d 'Show every variable'
complete -c retryshim -n __retryshim_no_command -a status -d 'Show or reset what is known of destinations'
complete -c retryshim -n __retryshim_no_command -a metrics -d 'Print what has been counted, for Prometheus'
complete -c retryshim -n __retryshim_no_command -a report -d 'Make an HTML page from JSON diagnostics'
complete -c retryshim -n __retryshim_no_command -a tail -d 'Show JSON diagnostics as lines for people'
complete -c retryshim -n __retryshim_no_command -a help -d 'Show help'
complete -c retryshim -n __retryshim_no_command -a version -d 'Show the version'
complete -c retryshim -n __retryshim_no_command -l version -d 'Show the version'
complete -c retryshim -n '__retryshim_no_command; or __retryshim_in run check env status metrics report tail help version' -s h -l help -d 'Show the help'
complete -c retryshim -n '__retryshim_in run check env status metrics report tail' -l usage -d 'Show the options in short'
complete -c retryshim -n '__retryshim_in help' -a 'run check env status metrics report tail help version'

complete -c retryshim -n __retryshim_in_program -a '(__retryshim_program)'

complete -c retryshim -n '__retryshim_in run' -l attempts -x -d 'Attempts in all'
complete -c retryshim -n '__retryshim_in run' -l base-delay -x -d 'First backoff'
complete -c retryshim -n '__retryshim_in run' -l max-delay -x -d 'Cap on one backoff'
complete -c retryshim -n '__retryshim_in run' -l multiplier -x -d 'Growth of the backoff'
complete -c retryshim -n '__retryshim_in run' -l jitter -x -a 'full equal decorrelated none' -d 'Jitter, or a factor 0..1'
complete -c retryshim -n '__retryshim_in run' -l timeout -x -d 'Bound on one operation'
complete -c retryshim -n '__retryshim_in run' -l fallback -x -d 'Where to go at the end'
complete -c retryshim -n '__retryshim_in run' -l seed -x -d 'Fix the jitter'
complete -c retryshim -n '__retryshim_in run' -l http-status -x -d 'Statuses worth a retry'
complete -c retryshim -n '__retryshim_in run' -l methods -x -d 'Methods that may be sent again'
complete -c retryshim -n '__retryshim_in run' -l hosts -x -d 'Only these destinations'
complete -c retryshim -n '__retryshim_in run' -l skip-hosts -x -d 'Never these destinations'
complete -c retryshim -n '__retryshim_in run' -l programs -x -d 'Only these programs'
complete -c retryshim -n '__retryshim_in run' -l skip-programs -x -d 'Never these programs'
complete -c retryshim -n '__retryshim_in run' -l no-nonblock -d 'Leave non-blocking connects alone'
complete -c retryshim -n '__retryshim_in run' -l no-dns -d 'Leave name look-ups alone'
complete -c retryshim -n '__retryshim_in run' -l no-curl -d 'Leave libcurl alone'
complete -c retryshim -n '__retryshim_in run' -l unix -x -a 'busy all off' -d 'Unix sockets'
complete -c retryshim -n '__retryshim_in run' -l deepbind -x -a 'auto keep drop' -d RTLD_DEEPBIND
complete -c retryshim -n '__retryshim_in run' -l resume -d 'Resume a broken download where it stopped'
complete -c retryshim -n '__retryshim_in run' -l state -r -F -a off -d 'The host-shared state'
complete -c retryshim -n '__retryshim_in run' -l no-budget -d 'No token bucket'
complete -c retryshim -n '__retryshim_in run' -l budget-burst -x -d 'Size of the token bucket'
complete -c retryshim -n '__retryshim_in run' -l budget-ratio -x -d 'Tokens that one success gives back'
complete -c retryshim -n '__retryshim_in run' -l budget-per-sec -x -d 'Tokens that drip in each second'
complete -c retryshim -n '__retryshim_in run' -l breaker -x -a 'pass reject off' -d 'An open circuit'
complete -c retryshim -n '__retryshim_in run' -l breaker-threshold -x -d 'Failures that open the circuit'
complete -c retryshim -n '__retryshim_in run' -l breaker-open -x -d 'How long until a probe'
complete -c retryshim -n '__retryshim_in run' -l metrics -x -d Sinks
complete -c retryshim -n '__retryshim_in run' -l metrics-namespace -x -d 'Namespace of the metrics'
complete -c retryshim -n '__retryshim_in run' -l operation -x -d 'Name the operation'
complete -c retryshim -n '__retryshim_in run' -l config -r -F -a off -d 'A file with settings'
complete -c retryshim -n '__retryshim_in run' -l diag -d 'Diagnostics on'
complete -c retryshim -n '__retryshim_in run' -l diag-file -r -F -d 'Append diagnostics to this file'
complete -c retryshim -n '__retryshim_in run' -l diag-dir -x -a '(__fish_complete_directories)' -d 'One file an event in this directory'
complete -c retryshim -n '__retryshim_in run' -l diag-format -x -a 'text json' -d 'Format of the diagnostics'
complete -c retryshim -n '__retryshim_in run' -l rerun -x -d 'Run the program up to N times more'
complete -c retryshim -n '__retryshim_in run' -l rerun-on -x -d 'Exit statuses that are worth it'
complete -c retryshim -n '__retryshim_in run' -l rerun-output -x -a 'last all' -d 'Which runs\' standard output goes out'
complete -c retryshim -n '__retryshim_in run' -l rerun-timeout -x -d 'Begin no other run after this time'
complete -c retryshim -n '__retryshim_in run' -l print -d 'Show the variables that would be set'

complete -c retryshim -n '__retryshim_in check env status' -l json -d 'One JSON object'
complete -c retryshim -n '__retryshim_in env' -l for -x -d 'What holds for this destination'
complete -c retryshim -n '__retryshim_in status' -l reset -d 'Forget a destination, or all'
complete -c retryshim -n '__retryshim_in status' -l watch -d 'Show it again and again'
complete -c retryshim -n '__retryshim_in status metrics' -l state -r -F -d 'This state file'

complete -c retryshim -n '__retryshim_in report tail' -F
complete -c retryshim -n '__retryshim_in report' -l title -x -d 'The page\'s title'

complete -c retryshim -n '__retryshim_in tail' -l all-events -d 'Begin with the first line'
complete -c retryshim -n '__retryshim_in tail' -s f -l follow -d 'Go on with what is added'
complete -c retryshim -n '__retryshim_in tail' -l no-follow -d 'End at the end of the files'
complete -c retryshim -n '__retryshim_in tail' -s n -l lines -x -d 'Begin with the last N lines'
complete -c retryshim -n '__retryshim_in tail' -l all -d 'Lines that are no events too'
complete -c retryshim -n '__retryshim_in tail' -l event -x -a 'attempt_failed succeeded exhausted given_up not_retryable fallback bad_value unused_value' -d 'Only these events'
complete -c retryshim -n '__retryshim_in tail' -l program -x -d 'Only events of these programs'
complete -c retryshim -n '__retryshim_in tail' -l target -x -d 'Only events of these targets'
complete -c retryshim -n '__retryshim_in tail' -l color -f -a 'always never auto' -d Colours
complete -c retryshim -n '__retryshim_in tail' -l trace -d 'The trace id, too'
