#!/bin/sh
# Shows what a script is told, and as whom and where it runs.

printf 'Content-Type: text/plain; charset=utf-8\n'
printf 'Cache-Control: no-store\n\n'

env | sort

printf '\narguments: %d\n' "$#"
printf 'directory: %s\n' "$(pwd)"
printf 'user:      %s\n' "$(id)"
printf 'umask:     %s\n' "$(umask)"
