# Draws the .png and the .svg of its name beside itself: gnuplot <this file>
set encoding utf8
set datafile missing '?'
set grid lc rgb '#d9d9d9'
set border 3 lc rgb '#808080'
set tics nomirror textcolor rgb '#333333'
set key noenhanced
set title 'Accuracy lost in INT8: each run, mean and standard deviation' noenhanced
$runs << END
0 1.1
? ?
END
$means << END
0 1.1 1.1 1.1 "ResNet18"
END
set xrange [-0.16:1.16]
set xlabel 'float accuracy minus INT8 accuracy, points'
set yrange [1:-1]
set ytics nomirror noenhanced font ',10'
unset key
set yzeroaxis lc rgb '#808080'
do for [type in 'png svg'] {
if (type eq 'png') {
  set terminal pngcairo noenhanced size 1000,228 font 'DejaVu Sans,12'
} else {
  set terminal svg noenhanced size 1000,228 font 'DejaVu Sans,12' background '#ffffff'
}
set output 'compare.'.type
plot $means using 2:1:3:4:ytic(5) with xerrorbars pt 7 ps 1 lw 2 lc rgb '#2b6cb0', \
  $runs using 2:($1+0.22) with points pt 6 ps 0.9 lw 1.5 lc rgb '#c05621'
unset output
}
