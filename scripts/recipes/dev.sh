# Short forms for daily use, for any POSIX shell: `. scripts/recipes/dev.sh`, or a line of it in ~/.bashrc or ~/.zshrc.
#
#   net npx eslint .            what a failure of means something (a finding, a broken build): network failures inside, no more
#   again pytest -x tests/e2e   what fails now and then as a whole: up to 2 runs more
#   download npm ci             what only fetches: patiently, up to 4 runs more, none begun after 10 minutes
#
# Git needs `net` only (its HTTP is libcurl's: statuses and resets are retried, too). In pip, npm and apt connections are
# retried, and the rest by `download`, since their HTTP is their own:
#
#   net git clone https://example.org/x.git
#   download pip install --retries 0 -r requirements.txt    # its own retries would multiply with these
#   download npm ci --fetch-retries=0
#   sudo retryshim run --rerun 4 --rerun-output all -- apt-get -o APT::Update::Error-Mode=any -o Acquire::Retries=0 update
#
# sudo drops LD_PRELOAD: retryshim goes behind it. Without Error-Mode=any, `apt-get update` ends with 0 when it got nothing.

net() { retryshim run --attempts 5 -- "$@"; }
again() { retryshim run --rerun 2 --rerun-output all -- "$@"; }
download() { retryshim run --attempts 5 --rerun 4 --rerun-timeout 10m --base-delay 3s --rerun-output all -- "$@"; }
