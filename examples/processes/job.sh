# Runs one job in its own directory, which outlives whoever started it.
trap : TERM # a cancel is for the command; how it ended is still written down
cat "/proc/$$/stat" >pid.new && mv pid.new pid || exit 1
mkdir claim 2>/dev/null || exit 0 # it was given up before it began
code=143
[ -e cancel ] || { /bin/sh -c "$1" >output 2>&1 </dev/null; code=$?; }
echo "$code" >exit.new && mv exit.new exit
