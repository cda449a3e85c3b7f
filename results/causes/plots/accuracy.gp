# Draws the .png and the .svg of its name beside itself: gnuplot <this file>
set encoding utf8
set datafile missing '?'
set grid lc rgb '#d9d9d9'
set border 3 lc rgb '#808080'
set tics nomirror textcolor rgb '#333333'
set key noenhanced
set title '' noenhanced
$series0 << END
0 5.7012 10
1 14.9656 ?
2 17.3836 16.2
3 21.9903 ?
4 28.786 28.9
5 28.1751 ?
6 41.3591 41.1
7 47.2639 ?
8 44.7951 43.6
9 48.5365 ?
10 52.5834 50.8
END
set xlabel 'epoch'
set ylabel 'validation accuracy, %'
set yrange [0:100]
set key bottom right
do for [type in 'png svg'] {
if (type eq 'png') {
  set terminal pngcairo noenhanced size 640,400 font 'DejaVu Sans,12'
} else {
  set terminal svg noenhanced size 640,400 font 'DejaVu Sans,12' background '#ffffff'
}
set output 'accuracy.'.type
set multiplot layout 1,1
set title 'ResNet18' noenhanced
plot $series0 using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb '#2b6cb0' title 'float32', \
  $series0 using 1:3 with linespoints pt 5 ps 0.7 lw 2 dt 2 lc rgb '#c05621' title 'INT8'
unset multiplot
unset output
}
