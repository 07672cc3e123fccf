#!/usr/bin/env bash
# A picture (SVG) of text in a terminal: tools/picture_of_text.sh <TEXT >PICTURE
set -euo pipefail
awk '
    { line[NR] = $0; if (length($0) > widest) widest = length($0) }
    END {
        width = widest * 7.3 + 24; height = NR * 18 + 20
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n", width, height, width, height
        print "<style>text { font: 12px ui-monospace, monospace; white-space: pre; fill: #222 } rect { fill: #fafafa; stroke: #ccc }"
        print ".prompt { fill: #777 } .frame { fill: #666 } .task { font-weight: 600 }"
        print "@media (prefers-color-scheme: dark) { text { fill: #ddd } rect { fill: #1c1c1c; stroke: #444 } .frame { fill: #999 } }</style>"
        printf "<rect x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", width - 1, height - 1
        for (i = 1; i <= NR; i++) {
            text = line[i]
            gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
            kind = line[i] ~ /^\$/ ? "prompt" : line[i] ~ /^ *at / ? "frame" : line[i] ~ /\): / ? "task" : "line"
            printf "<text class=\"%s\" x=\"12\" y=\"%d\" xml:space=\"preserve\">%s</text>\n", kind, i * 18 + 6, text
        }
        print "</svg>"
    }'
