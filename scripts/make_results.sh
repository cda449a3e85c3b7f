#!/bin/bash
# Tables, pages and plots of the committed results, made again from their JSON: scripts/make_results.sh PROGRAM [DIR…]
# (default: every folder in results/ with results files in it). Names what came out otherwise than it was, and then
# exits with 1; the new files stay. Without gnuplot the plots are neither made nor compared.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$1
shift
made=(report.html report.md compare.md)
options=()
if command -v gnuplot > /dev/null; then
    made+=(plots compare.gp compare.png compare.svg)
else
    options+=(--no-plots)
    echo "make_results: there is no gnuplot (scripts/setup.sh plots); plots are left as they are"
fi
if [ $# -eq 0 ]; then
    for folder in results/*/; do
        [ -z "$(find "$folder" -name '*_results.json' -print -quit)" ] || set -- "$@" "${folder%/}"
    done
    [ $# -gt 0 ] || { echo "make_results: no folder in results/ holds a *_results.json; 'quantdrift run' makes them"; exit 1; }
fi

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
give_back() {
    mv "$before"/now/* "$1/"
    echo "make_results: $1 is left as it was"
    exit 1
}

# The page names the commit of the program that made it.
same() { # A B
    [ -e "$1" ] && [ -e "$2" ] || return 1
    case $1 in
    *.html) cmp -s <(sed 's/"commit":"[^"]*"//' "$1") <(sed 's/"commit":"[^"]*"//' "$2") ;;
    *) diff -rq "$1" "$2" ;;
    esac
}

differences=0
for folder in "$@"; do
    mkdir "$before/now"
    for name in "${made[@]}"; do
        [ ! -e "$folder/$name" ] || mv "$folder/$name" "$before/now/"
    done
    for command in report compare; do
        "$program" $command "$folder" -o "$folder" "${options[@]}" > "$before/$command.txt" || give_back "$folder"
    done
    for name in "${made[@]}"; do
        [ -e "$before/now/$name" ] || [ -e "$folder/$name" ] || continue
        if ! same "$before/now/$name" "$folder/$name" > "$before/diff.txt"; then
            echo "$folder/$name: not as it was"
            sed -n "s|$before/now|before: $folder|gp" "$before/diff.txt"
            differences=$((differences + 1))
        fi
    done
    echo "$folder: made again"
    rm -rf "$before/now"
done
if [ $differences -gt 0 ]; then
    echo "$differences of the files and folders above differ"
    exit 1
fi
echo "nothing differs"
