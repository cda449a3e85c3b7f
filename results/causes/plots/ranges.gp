# Draws the .png and the .svg of its name beside itself: gnuplot <this file>
set encoding utf8
set datafile missing '?'
set grid lc rgb '#d9d9d9'
set border 3 lc rgb '#808080'
set tics nomirror textcolor rgb '#333333'
set key noenhanced
set title '' noenhanced
$line0_0 << END
0 7.36321
2 24.1151
4 26.7967
6 26.7818
8 28.7843
10 28.8774
END
$line0_1 << END
0 5.6028
2 16.6004
4 19.0987
6 18.8895
8 22.2939
10 23.1787
END
$line0_2 << END
0 4.74554
2 14.7656
4 16.0268
6 16.9986
8 18.2086
10 18.2194
END
$line0_3 << END
0 8.34149
2 16.5732
4 18.7151
6 16.3374
8 16.1615
10 16.9746
END
$line0_4 << END
0 8.34144
2 14.2999
4 19.0667
6 15.9696
8 16.8319
10 16.7953
END
set xlabel 'epoch'
set ylabel 'range (max - min) of activations'
set yrange [0:30.3212]
set key outside bottom center vertical maxrows 3 font ',10'
do for [type in 'png svg'] {
if (type eq 'png') {
  set terminal pngcairo noenhanced size 640,460 font 'DejaVu Sans,12'
} else {
  set terminal svg noenhanced size 640,460 font 'DejaVu Sans,12' background '#ffffff'
}
set output 'ranges.'.type
set multiplot layout 1,1
set title 'ResNet18' noenhanced
plot $line0_0 using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb '#2b6cb0' title 'layer1.1.conv1', \
  $line0_1 using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb '#c05621' title 'layer1.0.conv1', \
  $line0_2 using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb '#2f855a' title 'layer1.0.conv2', \
  $line0_3 using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb '#805ad5' title 'layer1.1.conv2', \
  $line0_4 using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb '#718096' title 'layer1.1.bn2'
unset multiplot
unset output
}
