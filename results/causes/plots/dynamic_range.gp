# Draws the .png and the .svg of its name beside itself: gnuplot <this file>
set encoding utf8
set datafile missing '?'
set grid lc rgb '#d9d9d9'
set border 3 lc rgb '#808080'
set tics nomirror textcolor rgb '#333333'
set key noenhanced
set title 'Widest activation ranges at the last logged epoch' noenhanced
$bars0 << END
0 -15.1203 13.7571 "layer1.1.conv1"
1 -12.0944 11.0843 "layer1.0.conv1"
2 -8.90626 9.3131 "layer1.0.conv2"
3 -8.48938 8.48522 "layer1.1.conv2"
4 -9.44293 7.35238 "layer1.1.bn2"
5 -8.18015 7.47515 "layer1.0.bn1"
6 -7.21729 7.59246 "layer1.0.bn2"
7 0 14.4099 "layer1.1.relu"
8 0 14.4099 "layer1.1"
9 0 13.493 "layer1.0.relu"
END
set xlabel 'activation value: smallest to largest'
set yrange [11:-1]
set key outside top center horizontal
unset ytics
set ytics nomirror noenhanced font ',10'
set xzeroaxis
do for [type in 'png svg'] {
if (type eq 'png') {
  set terminal pngcairo noenhanced size 1000,384 font 'DejaVu Sans,12'
} else {
  set terminal svg noenhanced size 1000,384 font 'DejaVu Sans,12' background '#ffffff'
}
set output 'dynamic_range.'.type
plot $bars0 using (0.5*($2+$3)):1:2:3:($1-0.36):($1+0.36):ytic(4) with boxxyerror fs solid 0.85 noborder lc rgb '#2b6cb0' title 'ResNet18'
unset output
}
